"""The model without a workflow: its bounds, and streams that end exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.scripted import ScriptedTextGenerator
from domain.choices import ChoiceChunk
from domain.direct_runner import DirectRunner
from domain.errors import DeadlineExceededError, InvalidRequestError, OverloadedError
from domain.messages import ChatMessage, Prompt
from domain.ports import TextGenerator
from domain.runner import RunnerLimits
from tests.fakes.backends import EndlessTextGenerator

PROMPT = Prompt([ChatMessage("user", "a b c")])
LONG = Prompt([ChatMessage("user", "word " * 200)])


@asynccontextmanager
async def running(
    generator: TextGenerator | None = None, *, timeout_s: float = 10.0, limit: int = 8
) -> AsyncIterator[DirectRunner]:
    backend = generator or ScriptedTextGenerator()
    await backend.open()
    runner = DirectRunner(backend, RunnerLimits(request_timeout_s=timeout_s, max_concurrent_requests=limit))
    yield runner
    await backend.close()
    assert runner.num_running == 0


async def test_answers_come_in_the_order_of_their_prompts() -> None:
    async with running() as runner:
        choices = await runner.generate([PROMPT, LONG, PROMPT])

    assert [choice.text for choice in choices] == ["a b c", "word " * 200, "a b c"]


async def test_a_stream_that_is_closed_ends_all_its_generations() -> None:
    backend = ScriptedTextGenerator(delay_s=0.01)
    async with running(backend) as runner:
        stream = await runner.stream([LONG, LONG, LONG])
        assert backend.num_running == 3
        await stream.aclose()
        assert backend.num_running == 0


async def test_a_cancelled_request_ends_all_its_generations() -> None:
    backend = EndlessTextGenerator()
    async with running(backend) as runner:
        task = asyncio.create_task(runner.generate([PROMPT, PROMPT]))
        while backend.num_running < 2:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert backend.num_running == 0


async def test_a_stream_that_nobody_takes_ends_with_the_deadline() -> None:
    backend = ScriptedTextGenerator()
    async with running(backend, timeout_s=0.1) as runner:
        stream = await runner.stream([LONG])
        await asyncio.sleep(0.2)
        assert backend.num_running == 0
        with pytest.raises(DeadlineExceededError):
            await stream.pass_to(ignore)


async def test_a_stream_that_is_taken_too_slowly_ends_with_the_deadline() -> None:
    backend = ScriptedTextGenerator()
    pieces: list[ChoiceChunk] = []
    async with running(backend, timeout_s=0.1) as runner:
        stream = await runner.stream([LONG])

        async def take(piece: ChoiceChunk) -> None:
            pieces.append(piece)
            await asyncio.sleep(0.03)

        with pytest.raises(DeadlineExceededError):
            await stream.pass_to(take)
        assert 0 < len(pieces) < 200
        assert backend.num_running == 0


async def test_a_piece_that_cannot_be_taken_ends_the_work() -> None:
    backend = ScriptedTextGenerator()
    async with running(backend) as runner:
        stream = await runner.stream([LONG])

        async def take(_: ChoiceChunk) -> None:
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await stream.pass_to(take)
        assert backend.num_running == 0


async def test_who_stops_to_take_a_stream_ends_the_work_when_it_is_closed() -> None:
    backend = ScriptedTextGenerator(delay_s=0.01)
    async with running(backend) as runner:
        stream = await runner.stream([LONG])
        taking = asyncio.create_task(stream.pass_to(ignore))
        await asyncio.sleep(0.05)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await stream.aclose()
        assert backend.num_running == 0


async def ignore(_: ChoiceChunk) -> None:
    """Take a piece, and do nothing with it."""


async def test_no_more_requests_at_once_than_allowed_of_any_kind() -> None:
    async with running(ScriptedTextGenerator(delay_s=0.05), limit=1) as runner:
        stream = await runner.stream([PROMPT])
        with pytest.raises(OverloadedError):
            await runner.generate([PROMPT])
        with pytest.raises(OverloadedError):
            await runner.embed(["a"])
        with pytest.raises(OverloadedError):
            await runner.score_labels(PROMPT.messages, ["a"])
        await stream.aclose()
        assert await runner.embed(["a"])


async def test_a_text_that_cannot_be_embedded_is_named_by_its_index() -> None:
    async with running() as runner:
        with pytest.raises(InvalidRequestError, match="18: there is no text"):
            await runner.embed(["a"] * 18 + [""])
