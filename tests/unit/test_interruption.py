"""A block that is ended from outside: by its deadline, by its caller's leaving, by both."""

import asyncio

import pytest

from domain.deadline import Deadline
from domain.errors import DeadlineExceededError
from domain.interruption import Interruption


class Announced(Interruption):
    """Is interrupted by the test; says when it began and ended."""

    def __init__(self) -> None:
        self.history: list[str] = []

    def begin(self) -> None:
        self.history.append("begin")

    def end(self) -> None:
        self.history.append("end")

    def error(self) -> Exception:
        return ConnectionAbortedError()


async def test_what_is_done_at_once_is_not_watched_over() -> None:
    with Announced() as block:
        pass
    await asyncio.sleep(0)
    assert block.history == []


async def test_the_watch_begins_when_the_block_waits_and_ends_with_it() -> None:
    with Announced() as block:
        await asyncio.sleep(0.01)
        assert block.history == ["begin"]
    assert block.history == ["begin", "end"]


async def test_a_block_that_is_interrupted_raises_its_own_error_and_the_task_goes_on() -> None:
    block = Announced()
    task = asyncio.current_task()
    assert task is not None
    num_cancelling = task.cancelling()  # other tests, of the same task, may have left some
    asyncio.get_running_loop().call_later(0.01, block.interrupt)
    with pytest.raises(ConnectionAbortedError), block:
        await asyncio.sleep(10)
    assert task.cancelling() == num_cancelling
    await asyncio.sleep(0)


async def test_a_task_that_is_cancelled_from_elsewhere_too_stays_cancelled() -> None:
    block = Announced()

    async def work() -> None:
        with block:
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    block.interrupt()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_blocks_the_one_that_was_interrupted_raises() -> None:
    outer = Announced()
    asyncio.get_running_loop().call_later(0.01, outer.interrupt)
    with pytest.raises(ConnectionAbortedError), outer, Deadline(10):
        await asyncio.sleep(10)
    with pytest.raises(DeadlineExceededError), Announced(), Deadline(0.01):
        await asyncio.sleep(10)
