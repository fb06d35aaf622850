"""The time that a request may take."""

import asyncio

from domain.errors import DeadlineExceededError
from domain.interruption import Interruption


class Deadline(Interruption):
    """Cancels what runs inside after ``timeout_s`` seconds.

    Raises:
        DeadlineExceededError: the time passed.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self.interrupt)

    def end(self) -> None:
        self._timer.cancel()

    def error(self) -> Exception:
        return DeadlineExceededError(f"the request took longer than {self._timeout_s:g} s")
