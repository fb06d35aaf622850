"""What one request used of the model: tokens and times, whichever hook of the workflow asked for them.

The runner opens a meter for each request; the ports that a workflow is handed are wrapped so that they
report to the meter of the request in whose context they are called, in threads of synchronous hooks too.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any, Self

from domain.generation import (
    Embedding,
    FinishReason,
    LabelScores,
    TokenChunk,
    Usage,
)
from domain.messages import ChatMessage, Prompt
from domain.ports import LabelScorer, TextEmbedder, TextGenerator
from domain.prompt_needs import refuse_unsupported
from domain.wrapped_generator import WrappedTextGenerator


@dataclass(slots=True)
class RequestMeter:
    """Running totals of the request that is served in its block."""

    started_s: float = field(default_factory=time.monotonic)
    usage: Usage = field(default_factory=Usage)
    time_to_first_token_s: float | None = None
    finish_reason: FinishReason | None = None
    bridged_calls: set[Future[Any]] = field(default_factory=set)
    """Port calls that synchronous hooks wait for; cancelled with the request."""
    _token: "Token[RequestMeter | None] | None" = None

    def __enter__(self) -> Self:
        self._token = _current_meter.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current_meter.reset(self._token)
        for call in list(self.bridged_calls):
            call.cancel()


_current_meter: ContextVar[RequestMeter | None] = ContextVar("current_meter", default=None)


def current_meter() -> RequestMeter:
    """Return the meter of the request in whose context this runs; a fresh one outside of any request."""
    return _current_meter.get() or RequestMeter()


class MeteredTextGenerator(WrappedTextGenerator[TextGenerator]):
    """A ``TextGenerator`` that reports what it does to the request's meter.

    Of an answer that breaks off, a token for each chunk is reported; of its prompt, about what it has.
    A prompt that asks for what the backend cannot do is refused (``NotSupportedError``).

    Args:
        generator: does it.
        max_output_tokens: of each answer, whatever the prompt asks for; None: no limit.
    """

    def __init__(self, generator: TextGenerator, max_output_tokens: int | None = None) -> None:
        super().__init__(generator)
        self._max_output_tokens = max_output_tokens

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        refuse_unsupported(prompt, self._generator)
        parameters = prompt.parameters.capped(self._max_output_tokens)
        if parameters is not prompt.parameters:
            prompt = replace(prompt, parameters=parameters)
        meter = current_meter()
        num_unsettled = 0
        try:
            async with aclosing(self._generator.generate(prompt)) as chunks:
                async for chunk in chunks:
                    if meter.time_to_first_token_s is None:
                        meter.time_to_first_token_s = time.monotonic() - meter.started_s
                    num_unsettled += 1
                    if chunk.usage is not None:
                        meter.usage += chunk.usage
                        meter.finish_reason = chunk.finish_reason
                        num_unsettled = 0
                    yield chunk
        finally:
            if num_unsettled:
                meter.usage += Usage(prompt.estimated_tokens, num_unsettled)


class MeteredLabelScorer:
    """A ``LabelScorer`` that reports what it does to the request's meter."""

    def __init__(self, scorer: LabelScorer) -> None:
        self._scorer = scorer

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        scores = await self._scorer.score_labels(messages, labels)
        current_meter().usage += scores.usage
        return scores


class MeteredTextEmbedder:
    """A ``TextEmbedder`` that reports what it does to the request's meter."""

    def __init__(self, embedder: TextEmbedder) -> None:
        self._embedder = embedder

    async def embed(self, text: str) -> Embedding:
        embedding = await self._embedder.embed(text)
        current_meter().usage += embedding.usage
        return embedding
