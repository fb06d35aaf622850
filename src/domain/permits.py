"""Counts the requests that are under way, and refuses one too many."""

from collections.abc import Callable

from domain.errors import OverloadedError


class Permits:
    """As many permits as there may be requests at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_taken = 0

    def take(self) -> "Permit":
        """Take one. Raises ``OverloadedError`` when none is left."""
        if self.num_taken >= self._limit:
            raise OverloadedError(f"{self.num_taken} requests are already running")
        self.num_taken += 1
        return Permit(self._give_back)

    def _give_back(self) -> None:
        self.num_taken -= 1


class Permit:
    """Counts who still works for a request; the last one to release gives the permit back."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._num_holders = 1
        self._give_back = give_back

    def retain(self) -> None:
        """Count one more holder."""
        self._num_holders += 1

    def release(self) -> None:
        """Count one holder less."""
        self._num_holders -= 1
        if self._num_holders == 0:
            self._give_back()
