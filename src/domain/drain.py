"""``Drain``: that the service is stopping, and when what it still does must be over."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAST_WORDS_S = 0.5
"""For what was interrupted to be told."""
LOOK_EVERY_S = 0.02


class Drain:
    """Begins once, when no more is accepted; is over when what was accepted has had its time."""

    def __init__(self) -> None:
        self.has_begun = False
        self.is_over = False
        self._interrupts: set[Callable[[], None]] = set()
        self._num_held = 0
        self._is_too_late = False

    def begin(self, grace_s: float) -> None:
        """Let what is under way end; after ``grace_s`` seconds it is interrupted.

        Another call may leave less time, not more.
        """
        self.has_begun = True
        asyncio.get_running_loop().call_later(grace_s, self._end)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have ``finished`` wait for what is in this block."""
        self._num_held += 1
        try:
            yield
        finally:
            self._num_held -= 1

    async def finished(self) -> None:
        """Return when nothing is under way, or what was interrupted has had time for its last words."""
        await asyncio.sleep(LOOK_EVERY_S)
        while self.has_begun and self._num_held and not self._is_too_late:  # noqa: ASYNC110 - at the end, once
            await asyncio.sleep(LOOK_EVERY_S)

    def add(self, interrupt: Callable[[], None]) -> None:
        """Have something called when the drain is over."""
        if self.is_over:
            interrupt()
        else:
            self._interrupts.add(interrupt)

    def remove(self, interrupt: Callable[[], None]) -> None:
        """Have it called no more."""
        self._interrupts.discard(interrupt)

    def _end(self) -> None:
        self.is_over = True
        while self._interrupts:
            self._interrupts.pop()()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._give_up)

    def _give_up(self) -> None:
        self._is_too_late = True
