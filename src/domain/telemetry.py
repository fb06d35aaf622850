"""What the service tells of its work: counts and times, never what the work is about.

Observers are told in passing, by whoever does the work; they return at once and raise nothing.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from domain.errors import NotSupportedError, ServiceError
from domain.generation import Embedding, LabelScores, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt
from domain.ports import LabelScorer, Prover, TextEmbedder, TextGenerator
from domain.proofs import CircuitDescription, ProofResult
from domain.wrapped_generator import WrappedTextGenerator

GAPS_AT_ONCE = 64
"""That an observer is told of. One at a time would cost each token as much as its way to the caller."""


class Outcome(StrEnum):
    """How a generation ended, in vLLM's words where it has them."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    """The caller left, or its time was over."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class GenerationFigures:
    """One generation, once it is over; seconds of one monotonic clock."""

    outcome: Outcome
    usage: Usage
    duration_s: float
    time_to_first_token_s: float | None
    """None where it never had one."""


class GenerationObserver(Protocol):
    """Is told of the backend's work."""

    def tokens_followed(self, model_id: str, gaps_s: Sequence[float]) -> None:
        """Tokens that are not the first came, each so long after the one before it."""
        ...

    def generation_ended(self, model_id: str, figures: GenerationFigures) -> None:
        """A generation is over."""
        ...


class ProofObserver(Protocol):
    """Is told of proofs."""

    def proof_began(self, circuit_id: str) -> None:
        """A proof was asked for; it may wait."""
        ...

    def proof_ended(self, circuit_id: str, duration_s: float, error: BaseException | None) -> None:
        """It is there, or is not."""
        ...


class ObservedTextGenerator(WrappedTextGenerator[TextGenerator]):
    """A backend whose generations an observer is told of; label scores and embeddings pass through."""

    def __init__(self, generator: TextGenerator, observer: GenerationObserver) -> None:
        super().__init__(generator)
        self._observer = observer

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        model_id = self.model.model_id
        outcome, usage = Outcome.ABORT, Usage()
        began_s = time.monotonic()
        first_s = last_s = None
        gaps_s: list[float] = []
        try:
            async with aclosing(self._generator.generate(prompt)) as chunks:
                async for chunk in chunks:
                    now_s = time.monotonic()
                    if last_s is None:
                        first_s = now_s - began_s
                    else:
                        gaps_s.append(now_s - last_s)
                    last_s = now_s
                    if len(gaps_s) == GAPS_AT_ONCE:
                        self._observer.tokens_followed(model_id, gaps_s)
                        gaps_s = []
                    if chunk.finish_reason is not None:
                        outcome, usage = Outcome(chunk.finish_reason), chunk.usage or usage
                    yield chunk
        except ServiceError:
            outcome = Outcome.ERROR
            raise
        finally:
            self._observer.tokens_followed(model_id, gaps_s)
            figures = GenerationFigures(outcome, usage, time.monotonic() - began_s, first_s)
            self._observer.generation_ended(model_id, figures)

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        if not isinstance(self._generator, LabelScorer):
            raise NotSupportedError(f"the backend of {self.model.model_id} does not offer label scores")
        return await self._generator.score_labels(messages, labels)

    async def embed(self, text: str) -> Embedding:
        if not isinstance(self._generator, TextEmbedder):
            raise NotSupportedError(f"the backend of {self.model.model_id} does not offer embeddings")
        return await self._generator.embed(text)


class ObservedProver:
    """A prover whose proofs an observer is told of."""

    def __init__(self, prover: Prover, observer: ProofObserver) -> None:
        self._prover = prover
        self._observer = observer

    @property
    def circuit(self) -> CircuitDescription:
        return self._prover.circuit

    async def open(self) -> None:
        await self._prover.open()

    async def close(self) -> None:
        await self._prover.close()

    async def prove(self, inputs: Sequence[float]) -> ProofResult:
        circuit_id = self.circuit.circuit_id
        began_s = time.monotonic()
        self._observer.proof_began(circuit_id)
        failure: BaseException | None = None
        try:
            return await self._prover.prove(inputs)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._observer.proof_ended(circuit_id, time.monotonic() - began_s, failure)
