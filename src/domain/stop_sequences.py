"""Finds stop sequences in a text that comes in pieces, and holds back what may be the start of one."""

from collections.abc import Sequence


class StopSequenceFilter:
    """Passes text on up to the first stop sequence, which is left out with everything behind it."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.has_stopped = False

    def feed(self, text: str) -> str:
        """Take the next piece; return the text that can be passed on now."""
        if not self._stop:
            return text
        self._held += text
        found = [position for stop in self._stop if (position := self._held.find(stop)) >= 0]
        if found:
            self.has_stopped = True
            passed, self._held = self._held[: min(found)], ""
            return passed
        num_held = max(self._overlap(stop) for stop in self._stop)
        passed, self._held = (
            self._held[: len(self._held) - num_held],
            self._held[len(self._held) - num_held :],
        )
        return passed

    def flush(self) -> str:
        """Return what was held back, when the answer ends otherwise."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """Return the length of the longest end of the held text that ``stop`` begins with."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
