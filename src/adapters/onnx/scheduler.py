"""Decides what the engine does next: which request gets a slot, and which sequences the next step decodes.

Continuous batching: requests join and leave between steps. A step reads some of the prompts, one after the
other (prefill), then decodes one token for each sequence whose prompt is done.

A decode batch is the first rows of the KV cache. A sequence that leaves opens a hole among them, which the
next prompt fills; until then the hole is a row that nobody reads. Only where there are more holes than
requests to fill them does the last sequence move into one: ``SlotMove`` tells the engine to copy.

A slot holds a whole context, so a sequence that has one never runs out of KV cache: who finds no free slot
waits.
"""

from dataclasses import dataclass

from adapters.onnx.sequence import Sequence, Work
from adapters.onnx.waiting_line import WaitingLine


@dataclass(frozen=True, slots=True)
class SlotMove:
    """Copy the first ``length`` tokens of slot ``source`` to slot ``target``."""

    source: int
    target: int
    length: int


class Scheduler:
    """The waiting line and the slots.

    Args:
        num_slots: sequences that the KV cache holds.
    """

    def __init__(self, *, num_slots: int) -> None:
        self._waiting = WaitingLine()
        self._slots: list[Work | None] = [None] * num_slots
        self._prefilling: Work | None = None
        self._decoding: list[Sequence] | None = []
        """By slot; None where that has changed."""

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_unread(self) -> int:
        """Requests that could be read next: the one that is, and those for whom a slot is free."""
        return min(self.num_waiting, self._slots.count(None)) + (self._prefilling is not None)

    @property
    def has_work(self) -> bool:
        return any(self._slots) or self.num_waiting > 0

    @property
    def prefilling(self) -> Work | None:
        """The request whose prompt is being read."""
        return self._prefilling

    def add(self, work: Work) -> None:
        """Put a request into the waiting line."""
        self._waiting.add(work)

    def next_prefill(self) -> Work | None:
        """Return the request whose prompt is being read; the next in line starts where a slot is free."""
        if self._prefilling is None and None in self._slots:
            work = self._waiting.pop()
            if work is not None:
                slot = self._slots.index(None)
                self._slots[slot], work.slot = work, slot
                self._prefilling = work
        return self._prefilling

    def start_decoding(self, sequence: Sequence) -> None:
        """Move the sequence whose prompt is done to the decoding ones; its slot stays its own."""
        if sequence is self._prefilling:
            self._prefilling = self._decoding = None

    def decoding(self) -> list[Sequence]:
        """Return the sequences whose prompt is done, by slot."""
        if self._decoding is None:
            prefilling = self._prefilling
            self._decoding = [
                work for work in self._slots if isinstance(work, Sequence) and work is not prefilling
            ]
        return self._decoding.copy()

    def remove(self, work: Work) -> None:
        """Take a request out, wherever it is."""
        if work is self._prefilling:
            self._prefilling = None
        if work.slot is None:
            self._waiting.remove(work)
        elif self._slots[work.slot] is work:
            self._slots[work.slot] = self._decoding = None
            work.slot = None

    def compact(self) -> list[SlotMove]:
        """Close the holes that nobody waits to fill; returns the copies that this takes."""
        moves = []
        decoding = self.decoding()
        while decoding:
            last = decoding.pop()
            source = last.held_slot
            if self._slots[:source].count(None) <= self.num_waiting:
                break
            target = self._slots.index(None)
            self._slots[source], self._slots[target] = None, last
            last.slot, self._decoding = target, None
            moves.append(SlotMove(source, target, last.num_cached))
        return moves

    def running(self) -> list[Work]:
        """Return the requests that hold a slot."""
        return [work for work in self._slots if work is not None]

    def all_work(self) -> list[Work]:
        """Return every request that is waiting or running."""
        return [*self.running(), *self._waiting]
