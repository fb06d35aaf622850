"""Several generations of one request at once, their chunks in one stream."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from domain.errors import BackendError, OverloadedError
from domain.generation import FinishReason, TokenChunk, TokenLogprob, Usage
from domain.messages import Prompt
from domain.parts import Parts
from domain.ports import TextGenerator

Chunks: TypeAlias = "asyncio.Queue[ChoiceChunk | Exception]"

BROKE_OFF = "the backend broke off before the end of the answer"


@dataclass(frozen=True, slots=True)
class ChoiceChunk:
    """A piece of the answer to the prompt of this index."""

    index: int
    chunk: TokenChunk


@dataclass(frozen=True, slots=True)
class Choice:
    """A whole answer with its log probabilities, where they were asked for."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...]


def choice_chunks(generator: TextGenerator, prompts: Sequence[Prompt]) -> AsyncGenerator[ChoiceChunk]:
    """Answer all prompts at once, as far as the backend has room for them.

    Each answer ends with its finish reason, or all of them with an error.

    Raises:
        BackendError: an answer ended without its last chunk.
    """
    if len(prompts) == 1:
        return _answer(generator, prompts[0], 0)
    return _answers(generator, prompts)


class ChoicesMeter:
    """What the answers to one request have used so far, whether or not they come to their ends.

    Args:
        prompts: in the order of the answers, ``num_choices`` times each.
        num_choices: answers to each prompt.
    """

    def __init__(self, prompts: Sequence[Prompt], num_choices: int) -> None:
        self._prompts = prompts
        self._num_choices = num_choices
        self._num_pieces: Counter[int] = Counter()
        self._usages: dict[int, Usage] = {}

    def note(self, piece: ChoiceChunk) -> None:
        """Count a piece of an answer."""
        self._num_pieces[piece.index] += 1
        if piece.chunk.usage is not None:
            self._usages[piece.index] = piece.chunk.usage

    @property
    def usage(self) -> Usage:
        """Of an answer without its end, a token for each piece; of its prompt, about what it has."""
        prompts: dict[int, int] = {}
        num_completion_tokens = 0
        for index, num_pieces in self._num_pieces.items():
            usage = self._usages.get(index) or Usage(self._prompts[index].estimated_tokens, num_pieces)
            num_completion_tokens += usage.num_completion_tokens
            prompt = index // self._num_choices
            if index in self._usages or prompt not in prompts:
                prompts[prompt] = usage.num_prompt_tokens
        return Usage(sum(prompts.values()), num_completion_tokens)


async def _answers(generator: TextGenerator, prompts: Sequence[Prompt]) -> AsyncGenerator[ChoiceChunk]:
    chunks: Chunks = asyncio.Queue()
    parts = Parts()

    async def answer(index: int, prompt: Prompt) -> None:
        try:
            await parts.run(lambda: _pass_on(_answer(generator, prompt, index), chunks, parts))
        except Exception as error:  # noqa: BLE001 - handed to whoever takes the chunks
            chunks.put_nowait(error)

    tasks = [asyncio.create_task(answer(index, prompt)) for index, prompt in enumerate(prompts)]
    try:
        num_left = len(prompts)
        while num_left > 0:
            piece = await chunks.get()
            if isinstance(piece, Exception):
                raise piece
            num_left -= piece.chunk.finish_reason is not None
            yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(answer: AsyncGenerator[ChoiceChunk], chunks: Chunks, parts: Parts) -> None:
    """Hand an answer over, with what it raises once it has begun; raises what it raises before."""
    has_begun = False
    try:
        async with aclosing(answer):
            async for chunk in answer:
                if not has_begun:
                    has_begun = True
                    parts.made_room()  # its prompt waits no more
                chunks.put_nowait(chunk)
    except OverloadedError as error:
        if not has_begun:
            raise
        chunks.put_nowait(error)


async def gathered(
    chunks: AsyncGenerator[ChoiceChunk], num_choices: int, note: Callable[[ChoiceChunk], None]
) -> list[Choice]:
    """Join the chunks of each answer; the answers are in the order of their prompts.

    ``note`` is told each chunk as it comes.
    """
    received: list[list[TokenChunk]] = [[] for _ in range(num_choices)]
    async with aclosing(chunks):
        async for chunk in chunks:
            note(chunk)
            received[chunk.index].append(chunk.chunk)
    return [_joined(chunks) for chunks in received]


def _joined(chunks: list[TokenChunk]) -> Choice:
    last = chunks[-1] if chunks else None
    if last is None or last.finish_reason is None or last.usage is None:
        raise BackendError(BROKE_OFF)
    logprobs = tuple(logprob for chunk in chunks for logprob in chunk.logprobs)
    return Choice("".join(chunk.text for chunk in chunks), last.finish_reason, last.usage, logprobs)


async def _answer(generator: TextGenerator, prompt: Prompt, index: int) -> AsyncGenerator[ChoiceChunk]:
    async with aclosing(generator.generate(prompt)) as chunks:
        async for chunk in chunks:
            yield ChoiceChunk(index, chunk)
            if chunk.finish_reason is not None:
                return
    raise BackendError(BROKE_OFF)
