"""A decision on a message, by a small head on the model's embedding, with a proof where one is asked for.

::

    message ─ embedding ─ projection ─► vector ─ head ─► action
              └── the model ─────┘      └── the circuit ──┘

The proof covers the circuit alone: "this head, on a vector with this hash, gives this action". That the
vector came from this message, or from a language model at all, is not proved.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from domain.chain import ChainFormat
from domain.constraints import OutputConstraint
from domain.conversation import conversation_of
from domain.decisions import Decision
from domain.errors import (
    BackendError,
    ConfigurationError,
    InvalidRequestError,
    NotSupportedError,
    UnavailableError,
)
from domain.generation import Capability
from domain.messages import Prompt
from domain.ports import DecisionHead, TextEmbedder
from domain.proof_request import is_proof_required
from domain.proofs import ProofResult, proof_reply
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow

DEFAULT_INSTRUCTION = (
    "You are an agent that decided on this action after the user's message: {action}. "
    "Say why, in one short sentence."
)
MAX_RATIONALE_TOKENS = 48
ONE_SENTENCE = OutputConstraint(regex=r"[^\s.!?]([^\r\n.!?]|[0-9][.][0-9]){0,300}[.!?]")
"""One line, up to the first full stop that is none between digits."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    decision: Decision
    rationale: str | None
    proof: ProofResult | None


class AgentDecisionWorkflow(LLMInferenceWorkflow):
    """Decides on a message.

    The reply is ``{"action": …, "probabilities": {label: p}, "rationale": …, "vector": […]}``, and
    ``"proof": {…}`` where one is asked for, by ``requires_proof`` or by ``proves_always``. With a proof the
    action is the circuit's; the probabilities are those of the head in floating point either way. The
    history of a request is for the rationale; the decision is on ``text`` alone.

    Args:
        proves_always: attach a proof to every reply, whether or not the request asks for one.
        has_rationale: let the model give a reason, which costs a generation; where the backend can constrain
            its output, the reason is one sentence, unless the request asks for another form.
        instruction: the system message for the rationale; ``{action}`` stands for the action.
    """

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.EMBEDDINGS, Capability.DECISION_HEAD})
    optional: ClassVar[frozenset[Capability]] = frozenset({Capability.PROOFS, Capability.CONSTRAINTS})
    chain_format: ClassVar[ChainFormat] = ChainFormat(codec="agent_reply")

    def __init__(
        self,
        *,
        proves_always: bool = False,
        has_rationale: bool = True,
        instruction: str = DEFAULT_INSTRUCTION,
    ) -> None:
        self._proves_always = proves_always
        self._has_rationale = has_rationale
        self._instruction = instruction

    def proves(self, *, is_required: bool) -> bool:
        return is_required or self._proves_always

    async def setup(self) -> None:
        """Check that model, head and circuit fit together.

        Raises:
            ConfigurationError: they do not.
        """
        embedder, head = self._parts()
        prover = self.ports.prover
        if self._proves_always and prover is None:
            raise ConfigurationError("proves_always needs a circuit: set LLM_CIRCUIT")
        if prover is not None and prover.circuit.num_inputs != head.vector_size:
            raise ConfigurationError(
                f"the circuit takes {prover.circuit.num_inputs} numbers, and the decision head makes "
                f"{head.vector_size}: it is not this head's"
            )
        try:
            size = len((await embedder.embed("hello")).vector)
        except UnavailableError:
            return  # a server that is not there yet; each request checks again
        if size != head.embedding_size:
            raise ConfigurationError(
                f"the decision head takes embeddings of {head.embedding_size} numbers, and this model gives "
                f"{size}: the head was trained for another model"
            )

    async def preprocess(self, request: LLMRequest) -> LLMRequest:
        return request

    async def generate(self, prompt: LLMRequest) -> _Outcome:
        embedder, head = self._parts()
        try:
            embedding = await embedder.embed(prompt.text)
        except InvalidRequestError as error:
            raise error.under("data.text") from error
        decision = head.decide(embedding.vector)
        if not self.proves(is_required=is_proof_required()):
            return _Outcome(decision, await self._rationale(prompt, head.labels[decision.index]), None)
        try:
            async with asyncio.TaskGroup() as group:
                proof = group.create_task(self._proof(decision))
                rationale = group.create_task(self._rationale(prompt, head.labels[decision.index]))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return _Outcome(decision, rationale.result(), proof.result())

    async def postprocess(self, generation: _Outcome, request: LLMRequest) -> dict[str, Any]:  # noqa: ARG002
        labels = self._parts()[1].labels
        decision, proof = generation.decision, generation.proof
        index = decision.index if proof is None else proof.label_index(len(labels))
        if index is None:
            raise BackendError("the circuit's output is not the index of a label")
        return {
            "action": labels[index],
            "probabilities": dict(zip(labels, decision.probabilities, strict=True)),
            **({} if generation.rationale is None else {"rationale": generation.rationale}),
            "vector": list(decision.vector),
            **({} if proof is None else {"proof": proof_reply(proof)}),
        }

    def _parts(self) -> tuple[TextEmbedder, DecisionHead]:
        embedder, head = self.ports.embedder, self.ports.decision_head
        if embedder is None or head is None:
            raise NotSupportedError("the service offers no embeddings, or no decision head")
        return embedder, head

    async def _proof(self, decision: Decision) -> ProofResult:
        if self.ports.prover is None:
            raise NotSupportedError("no circuit is configured")
        try:
            return await self.ports.prover.prove(decision.vector)
        except InvalidRequestError as error:  # the vector is ours, not the caller's
            raise BackendError("the head's vector does not fit into the circuit") from error

    async def _rationale(self, request: LLMRequest, action: str) -> str | None:
        if not self._has_rationale:
            return None
        messages = conversation_of(request, self._instruction.replace("{action}", action))
        has_constraints = Capability.CONSTRAINTS in self.ports.generator.capabilities
        limited = self.ports.default_parameters.model_copy(
            update={
                "max_tokens": MAX_RATIONALE_TOKENS,
                "constraint": ONE_SENTENCE if has_constraints else None,
            }
        )
        generation = await self.complete(Prompt(messages, limited.overridden_by(request.parameters)))
        return generation.text.strip()
