"""``ScriptedTextGenerator``: says what it is told to, a word a token."""

import asyncio
import hashlib
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace

from domain.errors import ContextLengthError, FieldProblem, InvalidRequestError, UnavailableError
from domain.generation import (
    Capability,
    Embedding,
    FinishReason,
    LabelScores,
    ModelDescription,
    TokenChunk,
    TokenLogprob,
    Usage,
)
from domain.messages import ChatMessage, Prompt
from domain.prompt_needs import refuse_too_long

DEFAULT_CONTEXT_LENGTH = 1_000_000
DEFAULT_EMBEDDING_SIZE = 64
_WORD = re.compile(r"\s*\S+|\s+$")


class ScriptedTextGenerator:
    """Streams a scripted reply word by word; each word, with the space before it, counts as one token.

    Args:
        reply: what it always answers; None: the last message of the conversation, or the text.
        replies: answers for the first calls, in order; after them ``reply``.
        delay_s: seconds before each token.
        context_length: words of conversation and answer together.
        embedding_size: reals in an embedding.
    """

    capabilities = frozenset(
        {Capability.LABEL_SCORES, Capability.EMBEDDINGS, Capability.LOGPROBS, Capability.TEXT_PROMPTS}
    )

    def __init__(
        self,
        reply: str | None = None,
        *,
        replies: Iterable[str] = (),
        delay_s: float = 0.0,
        context_length: int = DEFAULT_CONTEXT_LENGTH,
        embedding_size: int = DEFAULT_EMBEDDING_SIZE,
        max_prompt_tokens: int | None = None,
    ) -> None:
        self._reply = reply
        self._replies = deque(replies)
        self._delay_s = delay_s
        self._context_length = context_length
        self._embedding_size = embedding_size
        self._max_prompt_tokens = max_prompt_tokens
        self._is_open = False
        self._model = ModelDescription("scripted", context_length, fingerprint=repr(reply))
        self.history: list[Prompt] = []
        """The prompts of all calls so far; kept only when ``replies`` were given."""
        self._keeps_history = bool(self._replies)
        self.num_running = 0

    @property
    def model(self) -> ModelDescription:
        return self._model

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def ping(self) -> None:
        if not self._is_open:
            raise UnavailableError("the scripted backend is not open")

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        await self.ping()
        if self._keeps_history:
            self.history.append(prompt)
        num_prompt_tokens = _num_words(_texts(prompt))
        refuse_too_long(num_prompt_tokens, self._max_prompt_tokens)
        room = self._context_length - num_prompt_tokens
        if room < 1:
            raise ContextLengthError(num_prompt_tokens, self._context_length)
        reply = self._next_reply(prompt)
        text, finish_reason = _cut_at_stop(reply, prompt.parameters.stop)
        words = _WORD.findall(text)
        max_tokens = min(prompt.parameters.max_tokens or room, room)
        if len(words) > max_tokens:
            words, finish_reason = words[:max_tokens], FinishReason.LENGTH
        self.num_running += 1
        try:
            for word in words:
                await asyncio.sleep(self._delay_s)
                yield TokenChunk(word, logprobs=_logprobs(word, prompt.parameters.top_logprobs))
            yield TokenChunk("", finish_reason, Usage(num_prompt_tokens, len(words)))
        finally:
            self.num_running -= 1

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        await self.ping()
        await asyncio.sleep(self._delay_s)
        num_prompt_tokens = _num_words([message.content for message in messages])
        refuse_too_long(num_prompt_tokens, self._max_prompt_tokens)
        weights = [_weight(messages[-1].content, label) for label in labels]
        scores = {label: math.log(w / sum(weights)) for label, w in zip(labels, weights, strict=True)}
        return LabelScores(scores, Usage(num_prompt_tokens, 0))

    async def embed(self, text: str) -> Embedding:
        await self.ping()
        words = _WORD.findall(text)
        if not words:
            raise InvalidRequestError(FieldProblem("", "there is no text to embed"))
        refuse_too_long(len(words), self._max_prompt_tokens)
        if len(words) >= self._context_length:
            raise ContextLengthError(len(words), self._context_length)
        await asyncio.sleep(self._delay_s)
        sums = [
            sum(_weight(word.strip(), str(index)) for word in words) for index in range(self._embedding_size)
        ]
        return Embedding(tuple(value / len(words) / 2**15 - 1 for value in sums), Usage(len(words), 0))

    def _next_reply(self, prompt: Prompt) -> str:
        if self._replies:
            return self._replies.popleft()
        return _texts(prompt)[-1] if self._reply is None else self._reply


def _cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, FinishReason]:
    found = [position for sequence in stop if (position := text.find(sequence)) >= 0]
    return (text[: min(found)] if found else text), FinishReason.STOP


def _texts(prompt: Prompt) -> list[str]:
    return [message.content for message in prompt.messages] if prompt.text is None else [prompt.text]


def _num_words(texts: Sequence[str]) -> int:
    return sum(len(_WORD.findall(text)) for text in texts)


def _logprobs(word: str, num_alternatives: int | None) -> tuple[TokenLogprob, ...]:
    """Return the word's: the likeliest token with one half, before others of which each has half as much."""
    if num_alternatives is None:
        return ()
    words = [word, *(f" other{rank}" for rank in range(1, num_alternatives))]
    ranked = [TokenLogprob(w, w.encode(), -math.log(2) * rank) for rank, w in enumerate(words, 1)]
    return (replace(ranked[0], alternatives=tuple(ranked[:num_alternatives])),)


def _weight(text: str, label: str) -> int:
    """Return a number from 1 to 65,536 that depends on text and label alone."""
    return 1 + int.from_bytes(hashlib.sha256(f"{text}\0{label}".encode()).digest()[:2])
