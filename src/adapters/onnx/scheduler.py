"""Decides what the engine does next: which request gets a slot, and which tokens the next step runs.

Continuous batching: requests join and leave between steps. A step is at most one chunk of one prompt
(prefill), then one token for each sequence whose prompt is done (decode), so that a long prompt does not
stall the answers under way. First come, first served.

Decoding sequences hold the slots from 0 on without a gap, since a decode batch is the first rows of the KV
cache; the one sequence that is prefilling holds the slot behind them. A sequence that leaves makes the last
decoding one move into its slot: ``SlotMove`` tells the engine to copy.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.onnx.sequence import Sequence, SingleStep, Work
from domain.errors import OverloadedError


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The next tokens of a prompt."""

    sequence: Sequence
    token_ids: list[int]


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
        max_waiting: requests that may wait for a slot.
        prefill_chunk_tokens: prompt tokens that one step runs at most.
    """

    def __init__(self, *, num_slots: int, max_waiting: int, prefill_chunk_tokens: int) -> None:
        self._num_slots = num_slots
        self._max_waiting = max_waiting
        self.prefill_chunk_tokens = prefill_chunk_tokens
        self._waiting: deque[Work] = deque()
        self._prefilling: Sequence | None = None
        self._decoding: list[Sequence] = []

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._decoding) + (self._prefilling is not None)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting) or self.num_running > 0

    @property
    def decoding(self) -> tuple[Sequence, ...]:
        """The rows of the next decode step, in the order of their slots."""
        return tuple(self._decoding)

    @property
    def spare_slot(self) -> int | None:
        """The first slot that nobody holds."""
        return self.num_running if self.num_running < self._num_slots else None

    def add(self, work: Work) -> None:
        """Put a request at the end of the line.

        Raises:
            OverloadedError: ``max_waiting`` requests wait already.
        """
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(f"{len(self._waiting)} requests are already waiting for the model")
        self._waiting.append(work)

    def next_single_step(self) -> SingleStep | None:
        """Take the request at the head of the line if one step serves it and a slot is spare for it."""
        if not self._waiting or self._prefilling is not None or self.spare_slot is None:
            return None
        head = self._waiting[0]
        if isinstance(head, Sequence):
            return None
        self._waiting.popleft()
        return head

    def next_prefill(self) -> PrefillChunk | None:
        """Return the next chunk of the prompt that is being read; a new one starts where a slot is spare."""
        if self._prefilling is None and self._waiting and self.spare_slot is not None:
            head = self._waiting[0]
            if isinstance(head, Sequence):
                self._waiting.popleft()
                head.slot = self.spare_slot
                self._prefilling = head
        sequence = self._prefilling
        if sequence is None:
            return None
        end = sequence.num_cached + self.prefill_chunk_tokens
        return PrefillChunk(sequence, sequence.prompt_ids[sequence.num_cached : end])

    def start_decoding(self, sequence: Sequence) -> None:
        """Move the prefilled sequence to the decoding ones; it already holds the slot behind them."""
        self._prefilling = None
        self._decoding.append(sequence)

    def remove(self, work: Work) -> Iterator[SlotMove]:
        """Take a request out, wherever it is; yields the copies that close the gap it leaves."""
        if work is self._prefilling:
            self._prefilling = None
            work.slot = None
        elif work in self._decoding:
            yield from self._close_gap(work)
        elif work in self._waiting:
            self._waiting.remove(work)

    def _close_gap(self, leaving: Work) -> Iterator[SlotMove]:
        gap = self._decoding.index(leaving)  # type: ignore[arg-type]
        last = self._decoding.pop()
        if last is not leaving:
            self._decoding[gap] = last
            last.slot = gap
            yield SlotMove(len(self._decoding), gap, last.num_cached)
        if self._prefilling is not None:
            self._prefilling.slot = len(self._decoding)
            yield SlotMove(len(self._decoding) + 1, len(self._decoding), self._prefilling.num_cached)

    def all_work(self) -> list[Work]:
        """Return every request that is waiting or running."""
        prefilling = [self._prefilling] if self._prefilling is not None else []
        return [*self._decoding, *prefilling, *self._waiting]
