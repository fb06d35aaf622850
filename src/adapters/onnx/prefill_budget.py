"""How much of the prompts one step reads, so that answers under way do not stall behind them.

A step's reading may take a few times as long as the decode step beside it. How long either takes is measured
as they run: a pass has a cost of its own, and one for each token. So a prompt that nearly fits is read whole,
and a step begins a further prompt only where all of it fits.
"""

import math

CHUNK_STEP_TOKENS = 16
"""Chunks are multiples of this, and no smaller, but for the end of a prompt."""
LEARNING_RATE = 0.3
PASS_MEMORY = 0.8
"""What a measured pass weighs once the next is measured."""
WAITING_WEIGHT = 2
"""How much more somebody without a first token is held up than somebody whose next token comes late."""
MAX_OVERRUN = 1.35
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
        self._durations = PassDurations()
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
        limit = self._left_tokens
        if num_tokens <= min(limit, self._durations.most_tokens(MAX_OVERRUN * self._left_s)):
            return num_tokens
        if not self._is_first:
            return 0
        fitting = min(limit, self._durations.most_tokens(self._left_s))
        size = max(CHUNK_STEP_TOKENS, int(fitting) // CHUNK_STEP_TOKENS * CHUNK_STEP_TOKENS)
        size = min(size, limit, num_tokens)
        # a pass of one token rounds otherwise than one of several: the answer would depend on the load
        return size - 1 if num_tokens - size == 1 < size else size

    def decoded(self, duration_s: float) -> None:
        """Take note of a decode step."""
        known_s = duration_s if self._decode_s is None else self._decode_s
        self._decode_s = known_s + LEARNING_RATE * (duration_s - known_s)

    def prefilled(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a chunk."""
        self._is_first = False
        self._left_tokens -= num_tokens
        self._left_s -= duration_s
        self._durations.measured(num_tokens, duration_s)


class PassDurations:
    """How long a pass takes by its tokens: a line through those measured, the latest weighing most."""

    def __init__(self) -> None:
        self._weight = self._tokens = self._seconds = self._tokens_squared = self._tokens_seconds = 0.0
        self._widest = 0.0

    def measured(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a pass."""
        self._weight = PASS_MEMORY * self._weight + 1
        self._tokens = PASS_MEMORY * self._tokens + num_tokens
        self._seconds = PASS_MEMORY * self._seconds + duration_s
        self._tokens_squared = PASS_MEMORY * self._tokens_squared + num_tokens**2
        self._tokens_seconds = PASS_MEMORY * self._tokens_seconds + num_tokens * duration_s
        self._widest = max(PASS_MEMORY * self._widest, num_tokens)

    def most_tokens(self, duration_s: float) -> float:
        """Return how many tokens a pass of this duration reads, at least.

        Beyond the widest that was measured, duration is thought to grow with the tokens.
        """
        if duration_s == math.inf:
            return math.inf
        if self._weight == 0:
            return 0
        mean_tokens, mean_s = self._tokens / self._weight, self._seconds / self._weight
        variance = self._tokens_squared / self._weight - mean_tokens**2
        covariance = self._tokens_seconds / self._weight - mean_tokens * mean_s
        token_s = mean_s / mean_tokens  # where all had one size: no cost but that of tokens
        if variance > 1:
            # neither a pass nor a token is free, however the measurements scatter
            token_s = min(max(covariance / variance, token_s / 2), token_s)
        pass_s = mean_s - token_s * mean_tokens
        widest_s = pass_s + token_s * self._widest
        if duration_s > widest_s:
            return min(duration_s / widest_s, 2) * self._widest
        return (duration_s - pass_s) / token_s
