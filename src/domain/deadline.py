"""The time that a request may take."""

import asyncio

from domain.drain import Drain
from domain.errors import DeadlineExceededError, UnavailableError
from domain.interruption import Interruption


class Deadline(Interruption):
    """Cancels what runs inside after ``timeout_s`` seconds, or when the service stops before.

    Raises:
        DeadlineExceededError: the time passed.
        UnavailableError: ``drain`` was over first.
    """

    def __init__(self, timeout_s: float, drain: Drain | None = None) -> None:
        self._timeout_s = timeout_s
        self._drain = drain

    def begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self.interrupt)
        if self._drain is not None:
            self._drain.add(self.interrupt)

    def end(self) -> None:
        self._timer.cancel()
        if self._drain is not None:
            self._drain.remove(self.interrupt)

    def error(self) -> Exception:
        if self._drain is not None and self._drain.is_over:
            return UnavailableError("the service stopped before the answer was done")
        return DeadlineExceededError(f"the request took longer than {self._timeout_s:g} s")
