"""A decision on a vector that the caller brings, with a proof: the circuit's own arithmetic and nothing more.

The proof says that the circuit's model gives this output for an input with this hash (or these values). It
does not say where the vector came from.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.chain import ChainFormat
from domain.errors import InvalidRequestError, NotSupportedError
from domain.generation import Capability
from domain.proofs import ProofResult, proof_reply
from domain.requests import also
from domain.workflow import LLMInferenceWorkflow

MAX_INPUTS = 65_536


class VectorRequest(BaseModel):
    """The ``data`` of a request."""

    # strict: neither "1" nor true is a number here
    model_config = ConfigDict(
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        json_schema_extra=also({"type": "array", "items": {"type": "number"}}),
    )

    inputs: Annotated[list[int | float], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)] = Field(
        description="the numbers that the circuit's model takes"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_numbers(cls, data: Any) -> Any:
        """Take the numbers alone, as another container gives them."""
        return {"inputs": data} if isinstance(data, list) else data


class VectorDecisionWorkflow(LLMInferenceWorkflow):
    """Runs the circuit's model on a vector, and proves it.

    The reply is ``{"action": …, "outputs": […], "proof": {…}}``; ``action`` is there when labels are given.

    Args:
        labels: names of the model's outputs, for a circuit that ends with the index of one (argmax).
    """

    request_type: ClassVar[type[BaseModel]] = VectorRequest
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.PROOFS})
    chain_format: ClassVar[ChainFormat] = ChainFormat(codec="tensor")

    def __init__(self, labels: Sequence[str] | None = None) -> None:
        if isinstance(labels, str) or (labels is not None and len(set(labels)) < len(labels)):
            raise ValueError("labels must be a list of different words")
        self._labels = labels

    async def preprocess(self, request: VectorRequest) -> list[int | float]:
        return request.inputs

    async def generate(self, prompt: list[int | float]) -> ProofResult:
        prover = self.ports.prover
        if prover is None:
            raise NotSupportedError("no circuit is configured")
        try:
            return await prover.prove(prompt)
        except InvalidRequestError as error:
            raise error.under("data") from error

    async def postprocess(self, generation: ProofResult, request: VectorRequest) -> dict[str, Any]:  # noqa: ARG002
        reply = {"outputs": generation.values["outputs"], "proof": proof_reply(generation)}
        if self._labels is None:
            return reply
        index = generation.label_index(len(self._labels))
        if index is None:
            raise ValueError("the circuit's output is not the index of a label")
        return {"action": self._labels[index], **reply}
