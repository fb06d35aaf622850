"""How many tokens of prompts one step reads, so that answers under way do not stall behind them.

A step's reading may take a few times as long as the decode step beside it. How long either takes is measured
as they run; a larger chunk than was ever measured is thought to take in proportion to its size.
"""

import math

MIN_CHUNK_TOKENS = 16
LEARNING_RATE = 0.3


class PrefillBudget:
    """Tokens that the next step reads.

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

    def num_tokens(self, *, num_decoding: int, num_waiting: int) -> int:
        """Return how many tokens, at most; more where more wait for a first token than are held up."""
        if num_decoding == 0:
            return self._max_chunk_tokens
        size = fitting = MIN_CHUNK_TOKENS
        if self._decode_s is not None:
            allowed_s = self._max_stall * self._decode_s * max(1.0, num_waiting / num_decoding)
            while (size := size * 2) <= self._max_chunk_tokens:
                if self._duration_s(size) <= allowed_s:
                    fitting = size
        return min(fitting, self._max_chunk_tokens)

    def decoded(self, duration_s: float) -> None:
        """Take note of a decode step."""
        known_s = duration_s if self._decode_s is None else self._decode_s
        self._decode_s = known_s + LEARNING_RATE * (duration_s - known_s)

    def prefilled(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a chunk; one of a size in between stands for the size below, as if it had that."""
        if num_tokens < MIN_CHUNK_TOKENS:
            return
        size = MIN_CHUNK_TOKENS
        while size * 2 <= num_tokens:
            size *= 2
        scaled_s = duration_s * size / num_tokens
        known_s = self._chunks_s.get(size, scaled_s)
        self._chunks_s[size] = known_s + LEARNING_RATE * (scaled_s - known_s)

    def _duration_s(self, size: int) -> float:
        """Return how long a chunk of this size takes, at most, by those measured that are not larger.

        A token costs no more in a larger chunk, so that one that was slow once is not held against its size.
        """
        known = ((measured, took_s) for measured, took_s in self._chunks_s.items() if measured <= size)
        return min((took_s * size / measured for measured, took_s in known), default=math.inf)
