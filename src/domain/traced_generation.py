"""``TracedTextGenerator``: a backend each of whose calls is a span, as OpenTelemetry names them for GenAI."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from domain.generation import Embedding, LabelScores, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt
from domain.telemetry import ObservedTextGenerator
from domain.tracing import Attribute, Span, SpanKind, Tracer
from domain.wrapped_generator import WrappedTextGenerator

PieceT = TypeVar("PieceT")

OPERATION = "gen_ai.operation.name"


class TracedTextGenerator(WrappedTextGenerator[ObservedTextGenerator]):
    """A backend whose calls a tracer is told of.

    Args:
        generator: the backend.
        tracer: told.
        provider: who runs the model, ``gen_ai.provider.name``.
        is_remote: whether another service does.
    """

    def __init__(
        self, generator: ObservedTextGenerator, tracer: Tracer, provider: str, *, is_remote: bool
    ) -> None:
        super().__init__(generator)
        self._tracer = tracer
        self._provider = provider
        self._kind = SpanKind.CLIENT if is_remote else SpanKind.INTERNAL

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        operation = "chat" if prompt.text is None else "text_completion"
        span = self._tracer.start(*self._described(operation, prompt), self._kind)
        failure: BaseException | None = None
        try:
            async with aclosing(_within(span, self._generator.generate(prompt))) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason is not None:
                        span.set({"gen_ai.response.finish_reasons": [chunk.finish_reason.value]})
                    if chunk.usage is not None:
                        span.set(_used(chunk.usage))
                    yield chunk
        except BaseException as error:
            # who leaves before the end has what it wanted
            failure = None if isinstance(error, GeneratorExit) else error
            raise
        finally:
            span.end(failure)

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        with self._tracer.span(*self._described("score_labels"), self._kind) as span:
            scores = await self._generator.score_labels(messages, labels)
            span.set(_used(scores.usage))
            return scores

    async def embed(self, text: str) -> Embedding:
        with self._tracer.span(*self._described("embeddings"), self._kind) as span:
            embedding = await self._generator.embed(text)
            span.set(_used(embedding.usage))
            return embedding

    def _described(self, operation: str, prompt: Prompt | None = None) -> tuple[str, dict[str, Attribute]]:
        model_id = self.model.model_id
        attributes: dict[str, Attribute] = {
            OPERATION: operation,
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": model_id,
        }
        if prompt is not None:
            parameters = prompt.parameters
            asked = {
                "max_tokens": parameters.max_tokens,
                "temperature": parameters.temperature,
                "top_p": parameters.top_p,
                "top_k": parameters.top_k,
                "seed": parameters.seed,
            }
            attributes |= {f"gen_ai.request.{name}": v for name, v in asked.items() if v is not None}
        return f"{operation} {model_id}", attributes


async def _within(span: Span, pieces: AsyncGenerator[PieceT]) -> AsyncGenerator[PieceT]:
    """Yield what a generator makes; it runs with the span as the current one, and its consumer does not."""
    try:
        while True:
            with span.current():
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
            yield piece
    finally:
        with span.current():
            await pieces.aclose()


def _used(usage: Usage) -> dict[str, Attribute]:
    return {
        "gen_ai.usage.input_tokens": usage.num_prompt_tokens,
        "gen_ai.usage.output_tokens": usage.num_completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.num_cached_prompt_tokens,
    }
