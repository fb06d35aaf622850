"""Ports: what the domain asks of technology, by role. Adapters implement them, tests fake them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol, runtime_checkable

from domain.chain import ChainReply
from domain.decisions import Decision
from domain.generation import Capability, Embedding, LabelScores, ModelDescription, TokenChunk
from domain.jobs import Job, JobOutcome, JobRequest
from domain.messages import ChatMessage, Prompt
from domain.proofs import CircuitDescription, ProofResult, ProofVerdict
from domain.requests import RequestData


@runtime_checkable
class TextGenerator(Protocol):
    """Turns a conversation into text, chunk by chunk.

    Many calls may be under way at once; each is its own. Closing the generator of one call (``aclose``, or
    cancelling the task that awaits it) ends that call's work within one decoding step and touches no other.
    """

    @property
    def model(self) -> ModelDescription:
        """The model served; complete after ``open``, or after ``ping`` where only a server knows it."""
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
    def head_id(self) -> str:
        """Of its weights: another head has another."""
        ...

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


@runtime_checkable
class ProofVerifier(Protocol):
    """Checks proofs of one circuit that somebody brings, without a chain."""

    async def open(self) -> None:
        """Check the artefacts. Raises ``ConfigurationError`` when it never can check a proof."""
        ...

    async def verify(self, calldata: bytes) -> ProofVerdict:
        """Tell whether the proof in the calldata of a verifier, or of an attestation, holds.

        What an attestation would compare with the chain is not looked at.

        Raises:
            InvalidRequestError: it is no such calldata; names it ``calldata``.
            OverloadedError: too many calls wait.
            DeadlineExceededError: it took longer than it may.
            ProverError: the proof could not be checked.
        """
        ...


@runtime_checkable
class ChainCodec(Protocol):
    """Translates between a contract's bytes and what a workflow takes and gives."""

    def decode(self, data: bytes) -> RequestData:
        """Return on-chain input as an off-chain request would hold it in ``data``.

        Raises:
            InvalidRequestError: the bytes are not of the types that the codec reads; names the field.
        """
        ...

    def check_input(self, data: RequestData) -> None:
        """Raise what ``encode`` would raise of the data of a request that came off chain."""
        ...

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:
        """Return a workflow's reply as bytes for a contract.

        Args:
            reply: the workflow's.
            data: of the request, decoded where it came from the chain.
            raw_input: the on-chain input; None for a request that came off chain, whose input is encoded.

        Raises:
            InvalidRequestError: the request's data cannot be encoded.
            EncodingError: the reply cannot be: it lacks a field, or a number does not fit its type.
        """
        ...


@runtime_checkable
class Journal(Protocol):
    """Remembers jobs, so that none is lost when the process ends; may be shared by several processes.

    What a method returned holds after a crash. A job that is being run belongs to a claimant by a lease;
    only its claimant can finish it. Times are seconds since the epoch.

    Raises (each method): ``JournalError``.
    """

    async def open(self) -> None:
        """Get ready. Raises ``ConfigurationError`` when it never will be."""
        ...

    async def close(self) -> None:
        """Release everything. May be called twice."""
        ...

    async def add(self, job: JobRequest, *, now_s: float, claimant: str | None, lease_s: float) -> Job:
        """Record a job, claimed at once where a claimant is given.

        With a key of which there is a job already, that one is returned and nothing recorded: its ``job_id``
        is another than the request's.

        Raises:
            OverloadedError: there is no room, and nothing finished to make some.
        """
        ...

    async def claim(
        self, claimant: str, identities: Sequence[str], *, now_s: float, lease_s: float, limit: int
    ) -> list[Job]:
        """Take queued jobs that are due and running ones whose lease is over, the oldest first.

        ``identities``: of the workflows that the claimant serves; others' jobs are left alone.
        """
        ...

    async def renew(
        self, claimant: str, job_ids: Sequence[str], *, now_s: float, lease_s: float
    ) -> list[str]:
        """Extend the leases of jobs that a claimant runs; returns the ids of those that it still may."""
        ...

    async def finish(
        self, job_id: str, claimant: str, outcome: JobOutcome, *, now_s: float, releases_key: bool
    ) -> bool:
        """Store an outcome; False where the job is no longer the claimant's, and nothing is stored.

        ``releases_key``: a later request with the same key is a job of its own.
        """
        ...

    async def postpone(self, job_id: str, claimant: str, *, due_s: float) -> None:
        """Put a claimed job back into the queue, to be claimed at ``due_s`` or later."""
        ...

    async def forget(self, job_id: str, claimant: str) -> None:
        """Remove a claimed job as if it had never been recorded."""
        ...

    async def abandon(
        self, outcome: JobOutcome, identities: Sequence[str], *, created_before_s: float, now_s: float
    ) -> int:
        """End with an outcome what is this old, run by nobody, and of none of the ``identities``.

        Returns how many.
        """
        ...

    async def get(self, job_id: str, owner: str | None) -> Job | None:
        """Return a job; None where there is none, or it is not the owner's (None: anyone's)."""
        ...

    async def page(self, owner: str, *, limit: int, before: str | None) -> list[Job]:
        """Return an owner's jobs, the newest first, from behind the job ``before`` on."""
        ...

    async def cancel(self, job_id: str, owner: str, *, now_s: float) -> Job | None:
        """Cancel a job that is not finished, and release its key; returns it as it is now."""
        ...

    async def erase(self, *, owner: str | None, job_id: str | None, before_s: float | None) -> int:
        """Remove finished jobs, texts and results, out of the file too; returns how many.

        Args:
            owner: whose; None for everyone's.
            job_id: which; None for all.
            before_s: finished before this time; None for all.
        """
        ...
