"""The line in front of the slots: first come, first served, unless a more urgent one may overtake."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from adapters.onnx.sequence import Work

MAX_OVERTAKEN = 16
"""Times that the one who has waited longest may be overtaken; then nobody goes before it, so that nobody
starves."""


@dataclass(slots=True)
class _Place:
    number: int
    work: Work
    num_overtaken: int = 0


class WaitingLine:
    """Requests by priority (lower goes first), and by arrival within one."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[_Place]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Work]:
        """Iterate over the requests, by priority."""
        return (place.work for _, line in sorted(self._lines.items()) for place in line)

    def add(self, work: Work) -> None:
        """Put a request at the end of the line of its priority."""
        self._lines.setdefault(work.priority, deque()).append(_Place(next(self._numbers), work))

    def pop(self) -> Work | None:
        """Take out the request whose turn it is; None when nobody waits."""
        if not self._lines:
            return None
        first = self._lines[min(self._lines)][0]
        oldest = min((line[0] for line in self._lines.values()), key=lambda place: place.number)
        if oldest is not first:
            oldest.num_overtaken += 1
            if oldest.num_overtaken > MAX_OVERTAKEN:
                first = oldest
        self.remove(first.work)
        return first.work

    def remove(self, work: Work) -> bool:
        """Take a request out, wherever it stands; False when it does not wait."""
        line = self._lines.get(work.priority, deque())
        place = next((place for place in line if place.work is work), None)
        if place is None:
            return False
        line.remove(place)
        if not line:
            del self._lines[work.priority]
        return True
