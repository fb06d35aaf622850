"""``Parts``: a request that asks for several things of a backend that may not have room for all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.errors import OverloadedError

ResultT = TypeVar("ResultT")


class Parts:
    """Those of one request: one that is refused waits for the others, and is refused where there are none.

    So a service that nobody else asks serves all of them, as it always has room for one.
    """

    def __init__(self) -> None:
        self._num_inside = 0
        self._room = asyncio.Semaphore(0)

    async def run(self, part: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Run a part, again and again while the backend refuses it and has others.

        Raises: as the part does; ``OverloadedError`` where the backend has none of the request's.
        """
        while True:
            self._num_inside += 1
            try:
                result = await part()
            except OverloadedError:
                if self._num_inside == 1:
                    raise
            else:
                self.made_room()
                return result
            finally:
                self._num_inside -= 1
            await self._room.acquire()

    def made_room(self) -> None:
        """A part takes less than before, or nothing any more: let one that waits try again."""
        self._room.release()
