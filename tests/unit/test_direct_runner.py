"""The model without a workflow: its bounds, and streams that end exactly once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.onnx.admission import Admission, AdmissionLimits
from adapters.scripted import ScriptedTextGenerator
from domain.choices import ChoiceChunk
from domain.direct_runner import DirectRunner
from domain.errors import DeadlineExceededError, InvalidRequestError, OverloadedError
from domain.generation import Embedding, TokenChunk
from domain.messages import ChatMessage, Prompt
from domain.ports import TextGenerator
from domain.runner import RunnerLimits
from tests.fakes.backends import BareTextGenerator, EndlessTextGenerator

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


class CrowdedTextGenerator(ScriptedTextGenerator):
    """Has room for so many at once, as ONNX Runtime's backend counts it."""

    def __init__(self, limits: AdmissionLimits, num_bytes: int = 1, delay_s: float = 0.001) -> None:
        super().__init__(delay_s=delay_s)
        self.admission = Admission(limits)
        self._num_bytes = num_bytes

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        with self.admission.enter(self._num_bytes) as ticket:
            async for chunk in super().generate(prompt):
                ticket.begin()
                yield chunk

    async def embed(self, text: str) -> Embedding:
        with self.admission.enter(self._num_bytes):
            return await super().embed(text)


FEW = AdmissionLimits(max_running=2, max_waiting=1, max_waiting_tokens=1000)
SHORT = AdmissionLimits(max_running=100, max_waiting=100, max_waiting_tokens=5)


@pytest.mark.parametrize("limits", [FEW, SHORT])
async def test_a_request_that_is_alone_is_served_however_much_it_asks_for(limits: AdmissionLimits) -> None:
    async with running(CrowdedTextGenerator(limits, num_bytes=4)) as runner:
        choices = await runner.generate([PROMPT] * 40)
        embeddings = await runner.embed(["a b c"] * 40)

    assert [choice.text for choice in choices] == ["a b c"] * 40
    assert len({embedding.vector for embedding in embeddings}) == 1
    assert len(embeddings) == 40


async def test_a_request_is_refused_where_there_is_no_room_for_any_of_it() -> None:
    backend = CrowdedTextGenerator(FEW)
    async with running(backend) as runner:
        others = [backend.admission.enter(1) for _ in range(3)]
        with pytest.raises(OverloadedError):
            await runner.generate([PROMPT] * 3)
        with pytest.raises(OverloadedError):
            await runner.embed(["a"] * 3)
        for other in others:
            other.leave()


async def test_an_answer_that_was_begun_is_not_begun_again() -> None:
    class BreaksOff(BareTextGenerator):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            yield TokenChunk("almost")
            raise OverloadedError("too much")

    async with running(BreaksOff()) as runner:
        with pytest.raises(OverloadedError):
            await runner.generate([PROMPT] * 3)


async def test_what_waits_for_the_rest_of_its_request_ends_with_it() -> None:
    backend = CrowdedTextGenerator(FEW, delay_s=0.05)
    async with running(backend) as runner:
        stream = await runner.stream([LONG] * 10)
        await stream.aclose()
        assert backend.num_running == 0
        with backend.admission.enter(1):
            assert backend.admission.oldest_wait_s < 1
