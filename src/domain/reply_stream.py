"""``ReplyStream``: pieces of an answer, made and handed on by a task of their own."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from domain.errors import DeadlineExceededError

PieceT = TypeVar("PieceT")


class ReplyStream(Generic[PieceT]):
    """Pass it on once, and ``aclose`` it: that ends the work.

    Args:
        pieces: makes them; runs in one task from first to last, with that task's context, and waits while
            a piece is being taken.
    """

    def __init__(self, pieces: AsyncGenerator[PieceT]) -> None:
        loop = asyncio.get_running_loop()
        self._pieces = pieces
        self._has_first: asyncio.Future[None] = loop.create_future()
        self._take: asyncio.Future[Callable[[PieceT], Awaitable[None]]] = loop.create_future()
        self._is_closed = False
        self._task = asyncio.create_task(self._run())

    async def start(self) -> None:
        """Wait for the first piece, or the end; raises what happened before."""
        try:
            await asyncio.wait([self._has_first, self._task], return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                self._task.result()
        except BaseException:
            await self.aclose()
            raise

    async def pass_to(self, take: Callable[[PieceT], Awaitable[None]]) -> None:
        """Have every piece taken; raises what went wrong after the first."""
        if not self._take.done():  # the work may have ended while it waited for this
            self._take.set_result(take)
        await asyncio.wait([self._task])
        self._task.result()

    async def aclose(self) -> None:
        """End the work, if it goes on. May be called twice."""
        self._is_closed = True
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # or the loop would complain that nobody asked

    async def _run(self) -> None:
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    if not self._has_first.done():
                        self._has_first.set_result(None)
                        take = await self._take
                    await take(piece)
        except asyncio.CancelledError:
            if self._is_closed:
                raise
            # the deadline passed while a piece was being taken, so not inside of what makes them
            raise DeadlineExceededError("the answer was not taken in time") from None
