"""A proven decision on a vector that many made: the average, as a contract holds it.

The vector comes as the contract's own integers (``value * 10**decimals``). They are quantised to the
circuit's fixed point by one rule on integers, the same that the attestation contract applies, so that both
sides have equal instances. The rule is many-to-one: vectors that differ by less than half a step of
``2**-scale`` are the same to the circuit.

With a circuit of public inputs a contract compares the whole vector with its own; with one of hashed inputs
it takes the hash on trust from whoever brings it, since a contract cannot afford to hash as the circuit does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.chain import ChainFormat
from domain.errors import (
    BackendError,
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    NotSupportedError,
)
from domain.fixed_point import DECIMALS, binary_from_decimals
from domain.generation import Capability
from domain.ports import Prover
from domain.proofs import ProofResult, proof_reply
from domain.requests import also
from domain.workflow import LLMInferenceWorkflow

ACTIONS = ("noop", "buy", "sell")
MAX_VALUES = 65_536
MAX_DECIMALS = 36
INT256_BITS = 255


class AveragedVectorRequest(BaseModel):
    """The ``data`` of a request; a list of integers will do."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra=also({"type": "array", "items": {"type": "integer"}})
    )

    vector: Annotated[
        list[Annotated[int, Field(strict=True, ge=-(2**INT256_BITS), lt=2**INT256_BITS)]],
        Field(min_length=1, max_length=MAX_VALUES, fail_fast=True),
    ] = Field(description="whole numbers as a contract holds them: value * 10**decimals")
    decimals: Annotated[int, Field(strict=True, ge=0, le=MAX_DECIMALS)] = Field(
        default=DECIMALS, description="decimals of the vector"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_numbers(cls, data: Any) -> Any:
        return {"vector": data} if isinstance(data, list) else data


@dataclass(frozen=True, slots=True)
class _Quantised:
    instances: list[int]
    scale: int


class SummarizerWorkflow(LLMInferenceWorkflow):
    """Decides on an averaged vector, and proves it.

    The reply is ``{"action": …, "action_index": …, "quantised": […], "proof": {…}}``.

    Args:
        actions: names of the circuit's outputs, in order.
    """

    request_type: ClassVar[type[BaseModel]] = AveragedVectorRequest
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.PROOFS})
    chain_format: ClassVar[ChainFormat] = ChainFormat(codec="summarizer")

    def __init__(self, actions: Sequence[str] = ACTIONS) -> None:
        if isinstance(actions, str) or len(set(actions)) < len(actions):
            raise ValueError("actions must be a list of different words")
        self._actions = tuple(actions)

    async def setup(self) -> None:
        """Check that the circuit takes reals in fixed point.

        Raises:
            ConfigurationError: it does not.
        """
        if self._prover().circuit.takes_integers:
            raise ConfigurationError("the summarizer needs a circuit that takes reals in fixed point")

    async def preprocess(self, request: AveragedVectorRequest) -> _Quantised:
        circuit = self._prover().circuit
        if len(request.vector) != circuit.num_inputs:
            problem = f"the circuit takes {circuit.num_inputs} numbers, not {len(request.vector)}"
            raise InvalidRequestError(FieldProblem("data.vector", problem))
        scale = circuit.input_scale
        return _Quantised([binary_from_decimals(n, request.decimals, scale) for n in request.vector], scale)

    async def generate(self, prompt: _Quantised) -> tuple[_Quantised, ProofResult]:
        try:
            inputs = [number / 2**prompt.scale for number in prompt.instances]
        except OverflowError as error:
            problem = "is larger than what the circuit holds"
            raise InvalidRequestError(FieldProblem("data.vector", problem)) from error
        try:
            return prompt, await self._prover().prove(inputs)
        except InvalidRequestError as error:
            problems = (FieldProblem(p.field.replace("inputs", "vector"), p.reason) for p in error.problems)
            raise InvalidRequestError(*problems).under("data") from error

    async def postprocess(
        self,
        generation: tuple[_Quantised, ProofResult],
        request: AveragedVectorRequest,  # noqa: ARG002
    ) -> dict[str, Any]:
        quantised, proof = generation
        index = proof.label_index(len(self._actions))
        if index is None:
            raise BackendError("the circuit's output is not the index of an action")
        return {
            "action": self._actions[index],
            "action_index": index,
            "quantised": quantised.instances,
            "proof": proof_reply(proof),
        }

    def _prover(self) -> Prover:
        if self.ports.prover is None:
            raise NotSupportedError("no circuit is configured")
        return self.ports.prover
