"""Ports: what the domain asks of technology, by role. Adapters implement them, tests fake them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

from domain.decisions import Decision
from domain.generation import Capability, Embedding, LabelScores, ModelDescription, TokenChunk
from domain.messages import ChatMessage, Prompt
from domain.proofs import CircuitDescription, ProofResult


@runtime_checkable
class TextGenerator(Protocol):
    """Turns a conversation into text, chunk by chunk.

    Many calls may be under way at once; each is its own. Closing the generator of one call (``aclose``, or
    cancelling the task that awaits it) ends that call's work within one decoding step and touches no other.
    """

    @property
    def model(self) -> ModelDescription:
        """The model served; complete after ``open``."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this backend can do beyond ``generate``."""
        ...

    async def open(self) -> None:
        """Get ready to serve. Raises ``ConfigurationError`` when it never will be."""
        ...

    async def close(self) -> None:
        """Release everything; calls under way end with ``UnavailableError``. May be called twice."""
        ...

    async def ping(self) -> None:
        """Return when a call could be served now; raises ``UnavailableError`` otherwise."""
        ...

    def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        """Stream the answer; the last chunk carries the finish reason and the usage.

        The chunks' texts, joined, are the answer, without stop sequences and special tokens.

        Raises:
            ContextLengthError: the prompt leaves no room for an answer.
            InvalidRequestError: the model's chat template refuses the messages.
            OverloadedError: too many calls wait.
            BackendError: the backend failed or is unreachable.
            DeadlineExceededError: the backend took longer than its own time limit.
        """
        ...


@runtime_checkable
class LabelScorer(Protocol):
    """Tells how likely each of some given answers is: a backend with ``Capability.LABEL_SCORES``."""

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        """Score each label as the assistant's next words.

        Raises: as ``TextGenerator.generate``.
        """
        ...


@runtime_checkable
class TextEmbedder(Protocol):
    """Turns a text into a vector: a backend with ``Capability.EMBEDDINGS``."""

    async def embed(self, text: str) -> Embedding:
        """Return the embedding of a text, which is taken as it is, without a chat template.

        Raises: as ``TextGenerator.generate``.
        """
        ...


@runtime_checkable
class DecisionHead(Protocol):
    """A small model that turns embeddings into decisions between labels."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it decides between, in the order of its logits."""
        ...

    @property
    def embedding_size(self) -> int:
        """Reals that it takes."""
        ...

    @property
    def vector_size(self) -> int:
        """Reals that it projects an embedding to."""
        ...

    def decide(self, embedding: Sequence[float]) -> Decision:
        """Return vector and logits, at once.

        Raises:
            BackendError: the embedding is not of ``embedding_size``.
        """
        ...


@runtime_checkable
class Prover(Protocol):
    """Proves what one circuit's model gives for an input.

    Many calls may be under way at once. Cancelling one ends its work and touches no other.
    """

    @property
    def circuit(self) -> CircuitDescription:
        """The circuit; known after ``open``."""
        ...

    async def open(self) -> None:
        """Check the artefacts and get ready. Raises ``ConfigurationError`` when it never will be."""
        ...

    async def close(self) -> None:
        """Release everything; calls under way end with ``UnavailableError``. May be called twice."""
        ...

    async def prove(self, inputs: Sequence[float]) -> ProofResult:
        """Prove one input, and verify the proof.

        Raises:
            InvalidRequestError: the input is not one that the circuit takes; names it ``inputs``.
            OverloadedError: too many calls wait.
            DeadlineExceededError: it took longer than a proof may.
            ProverError: the prover failed on this input.
        """
        ...
