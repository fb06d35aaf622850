"""How much of the prompts one step reads, so that answers under way do not stall behind them.

A step's reading may take a few times as long as the decode step beside it. How long either takes is measured
as they run; a larger chunk than was ever measured is thought to take in proportion to its size.

Each pass has a cost of its own, whatever its size. So a prompt that nearly fits is read whole, and a step
begins a further prompt only where all of it fits.
"""

import math

MIN_CHUNK_TOKENS = 16
LEARNING_RATE = 0.3
WAITING_WEIGHT = 2
"""How much more somebody without a first token is held up than somebody whose next token comes late."""
MAX_OVERRUN = 1.25
"""Of the time that is left, where that reads the rest of a prompt."""


class PrefillBudget:
    """The time and the tokens that are left for prompts in a step.

    Args:
        max_chunk_tokens: at most, and where nobody decodes.
        max_stall: how long reading may take, in decode steps.
    """

    def __init__(self, max_chunk_tokens: int, max_stall: float) -> None:
        self._max_chunk_tokens = max_chunk_tokens
        self._max_stall = max_stall
        self._decode_s: float | None = None
        self._chunks_s: dict[int, float] = {}
        """How long chunks take, by size: MIN_CHUNK_TOKENS times a power of two."""
        self._left_tokens = max_chunk_tokens
        self._left_s = math.inf
        self._is_first = True

    def begin_step(self, *, num_decoding: int, num_waiting: int) -> None:
        """Begin a step; there is more time where more wait for a first token than are held up."""
        self._left_tokens = self._max_chunk_tokens
        self._is_first = True
        self._left_s = math.inf
        if num_decoding > 0:
            held_up = max(1.0, WAITING_WEIGHT * num_waiting / num_decoding)
            self._left_s = self._max_stall * (self._decode_s or 0.0) * held_up

    def next_chunk(self, num_tokens: int) -> int:
        """Return how many to read of a prompt's last ``num_tokens``; 0 where the step has no time for it."""
        if num_tokens <= self._left_tokens and self._duration_s(num_tokens) <= MAX_OVERRUN * self._left_s:
            return num_tokens
        if not self._is_first:
            return 0
        size = fitting = MIN_CHUNK_TOKENS
        while (size := size * 2) <= self._left_tokens:
            if self._duration_s(size) <= self._left_s:
                fitting = size
        return min(fitting, num_tokens, self._left_tokens)

    def decoded(self, duration_s: float) -> None:
        """Take note of a decode step."""
        known_s = duration_s if self._decode_s is None else self._decode_s
        self._decode_s = known_s + LEARNING_RATE * (duration_s - known_s)

    def prefilled(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a chunk; one of a size in between stands for the size below, as if it had that."""
        self._is_first = False
        self._left_tokens -= num_tokens
        self._left_s -= duration_s
        if num_tokens < MIN_CHUNK_TOKENS:
            return
        size = MIN_CHUNK_TOKENS
        while size * 2 <= num_tokens:
            size *= 2
        scaled_s = duration_s * size / num_tokens
        known_s = self._chunks_s.get(size, scaled_s)
        self._chunks_s[size] = known_s + LEARNING_RATE * (scaled_s - known_s)

    def _duration_s(self, num_tokens: int) -> float:
        """Return how long a chunk takes, at most, by those measured that are not larger.

        A token costs no more in a larger chunk, so that one that was slow once is not held against its size.
        A chunk smaller than any that was measured takes no longer than the smallest of them.
        """
        known = [(size, took_s) for size, took_s in self._chunks_s.items() if size <= num_tokens]
        if known:
            return min(took_s * num_tokens / size for size, took_s in known)
        return min(self._chunks_s.values(), default=math.inf) if num_tokens < MIN_CHUNK_TOKENS else math.inf
