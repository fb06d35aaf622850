"""From the events of a streamed answer to chunks.

Events are read as plain JSON: the models of the ``openai`` library cost twenty times as much per token.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from domain.errors import BackendError
from domain.generation import FinishReason, TokenChunk, TokenLogprob, Usage

DATA = b"data:"
DONE = b"[DONE]"
FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class ErrorEventError(Exception):
    """The server broke the answer off with an error; ``content`` is what it says of it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__("the answer was broken off with an error")
        self.content = content


async def token_chunks(pieces: AsyncIterator[bytes]) -> AsyncGenerator[TokenChunk]:
    """Read an answer to its end.

    Args:
        pieces: the body as it comes in.

    Raises:
        ErrorEventError: the server says that it failed.
        BackendError: an event is not what it should be, or the answer has no end.
    """
    end = _End()
    async for data in _events(pieces):
        if data == DONE:
            break
        try:
            event = pydantic_core.from_json(data)
            if error := event.get("error"):
                raise ErrorEventError(error if isinstance(error, dict) else {})
            chunks = [_chunk(choice) for choice in event.get("choices") or ()]
            end.note(event)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BackendError("the backend sent what is no answer") from error
        for chunk in chunks:
            if chunk.text or chunk.logprobs:
                end.num_chunks += 1
                yield chunk
    yield end.chunk()


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the data of each event; a line ends with a line feed alone, whatever JSON holds of others."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(DATA):
                yield line[len(DATA) :].strip()


@dataclass(slots=True)
class _End:
    """What is known of how the answer ends."""

    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    num_chunks: int = field(default=0)

    def note(self, event: Mapping[str, Any]) -> None:
        if event.get("usage"):
            self.usage = usage_of(event["usage"])
        for choice in event.get("choices") or ():
            if choice.get("finish_reason"):
                self.finish_reason = FINISH_REASONS.get(choice["finish_reason"], FinishReason.STOP)

    def chunk(self) -> TokenChunk:
        if self.finish_reason is None:
            raise BackendError("the backend broke off before the end of the answer")
        # a server that reports no usage sends a token a chunk, as far as known
        return TokenChunk("", self.finish_reason, self.usage or Usage(0, self.num_chunks))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Return what a server says of tokens."""
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        int(usage["prompt_tokens"]),
        int(usage.get("completion_tokens") or 0),
        int(details.get("cached_tokens") or 0),
    )


def _chunk(choice: Mapping[str, Any]) -> TokenChunk:
    text = (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
    if not isinstance(text, str):
        raise TypeError("text is not a string")
    return TokenChunk(text, logprobs=_logprobs(choice.get("logprobs")))


def _logprobs(logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprob, ...]:
    if not logprobs:
        return ()
    if logprobs.get("content") is not None:  # llama.cpp has this form for completions too
        return tuple(_token(entry, entry.get("top_logprobs") or ()) for entry in logprobs["content"])
    tokens = logprobs.get("tokens") or ()
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(token, token.encode(), float(logprob), _ranked(top or {}))
        for token, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True)
    )


def _token(entry: Mapping[str, Any], alternatives: Sequence[Mapping[str, Any]]) -> TokenLogprob:
    token, token_bytes = entry["token"], entry.get("bytes")
    return TokenLogprob(
        token,
        token.encode() if token_bytes is None else bytes(token_bytes),
        float(entry["logprob"]),
        tuple(_token(alternative, ()) for alternative in alternatives),
    )


def _ranked(top: Mapping[str, float]) -> tuple[TokenLogprob, ...]:
    ranked = sorted(top.items(), key=lambda item: -item[1])
    return tuple(TokenLogprob(token, token.encode(), float(logprob)) for token, logprob in ranked)
