"""``ReplyStream``: pieces of an answer, made by a task of their own so that any task may take them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Generic, TypeVar

from domain.errors import DeadlineExceededError

PieceT = TypeVar("PieceT")

MAX_WAITING_PIECES = 64
"""Then the workflow waits for the caller."""


class ReplyStream(Generic[PieceT]):
    """Iterate over it once, and ``aclose`` it: that ends the work.

    Args:
        pieces: makes them; runs in one task from first to last, with that task's context.
    """

    def __init__(self, pieces: AsyncGenerator[PieceT]) -> None:
        self._pieces = pieces
        self._queue: asyncio.Queue[PieceT | Exception | None] = asyncio.Queue(MAX_WAITING_PIECES)
        self._task = asyncio.create_task(self._fill())
        self._first: PieceT | None = None
        self._is_closed = False

    async def start(self) -> None:
        """Wait for the first piece, or the end; raises what happened before."""
        try:
            self._first = await self._next()
        except BaseException:
            await self.aclose()
            raise

    async def __aiter__(self) -> AsyncIterator[PieceT]:
        """Yield the pieces; raises what went wrong after the first."""
        piece = self._first
        while piece is not None:
            yield piece
            piece = await self._next()

    async def aclose(self) -> None:
        """End the work, if it goes on. May be called twice."""
        self._is_closed = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _next(self) -> PieceT | None:
        piece = await self._queue.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def _fill(self) -> None:
        end: Exception | None = None
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await self._queue.put(piece)
        except asyncio.CancelledError:
            if self._is_closed:
                raise
            # the deadline passed while the queue was full, so not inside of what makes the pieces
            end = DeadlineExceededError("the answer was not taken in time")
        except Exception as error:  # noqa: BLE001 - handed to whoever takes the pieces
            end = error
        await self._queue.put(end)
