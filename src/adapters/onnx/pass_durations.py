"""How long passes take, learnt from those that ran; the latest weigh most."""

import math

PASS_MEMORY = 0.8
"""What a measured pass weighs once the next is measured."""
LEARNING_RATE = 0.3
TOKENS_AS_COSTLY = 16
"""Of a prompt: as much as a decode step without them, at most; parts a surprise between the two."""
POSITIONS_AS_COSTLY = 1024
"""Of its slot, for a token to attend to: as much as the token costs without them, at first."""
LEAST_SHARE = 0.25
"""Of what a pass takes on average for a token, that a token beside rows takes at least."""


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
        if self._weight == 0 or duration_s <= 0:
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


class DecodeDurations:
    """How long a decode step takes, and a chunk of a prompt that is read beside its rows.

    A chunk costs for each of its tokens, and for each position that one attends to. The three figures come
    from one measurement: what was not foreseen is put down to each by its part, by normalised least mean
    squares (Nagumo and Noda 1967), so that none needs steps without the others.
    """

    def __init__(self) -> None:
        self.decode_s = 0.0
        """Without tokens beside; 0 until one ran."""
        self._token_s: float | None = None
        self._position_s = 0.0
        self._widest = 0.0

    def measured(self, num_beside: int, duration_s: float, *, num_past: int = 0) -> None:
        """Take note of a step.

        Args:
            num_beside: tokens of the chunk.
            duration_s: of the pass.
            num_past: tokens in the chunk's slot before it.
        """
        if self.decode_s == 0:
            self.decode_s = duration_s
        if num_beside == 0:
            self.decode_s += LEARNING_RATE * (duration_s - self.decode_s)
            return
        num_positions = _num_positions(num_beside, num_past)
        least_s = LEAST_SHARE * duration_s / (num_beside + TOKENS_AS_COSTLY)
        if self._token_s is None:
            tokens = num_beside + num_positions / POSITIONS_AS_COSTLY
            self._token_s = max((duration_s - self.decode_s) / tokens, least_s)
            self._position_s = self._token_s / POSITIONS_AS_COSTLY
        error_s = duration_s - self.decode_s - self.beside_s(num_beside, num_past)
        of_tokens = num_beside / TOKENS_AS_COSTLY
        of_positions = num_positions / (TOKENS_AS_COSTLY * POSITIONS_AS_COSTLY)
        step_s = LEARNING_RATE * error_s / (1 + of_tokens**2 + of_positions**2)
        self.decode_s = max(self.decode_s + step_s, least_s)
        self._token_s = max(self._token_s + step_s * of_tokens / TOKENS_AS_COSTLY, least_s)
        position_step_s = step_s * of_positions / (TOKENS_AS_COSTLY * POSITIONS_AS_COSTLY)
        self._position_s = max(self._position_s + position_step_s, 0.0)
        self._widest = max(PASS_MEMORY * self._widest, num_beside)

    def beside_s(self, num_tokens: int, num_past: int) -> float:
        """Return how much longer a step takes with a chunk beside; 0 where that is not known."""
        token_s = self._token_s or 0.0
        return token_s * num_tokens + self._position_s * _num_positions(num_tokens, num_past)

    def most_tokens(self, duration_s: float, num_past: int) -> float | None:
        """Return how many tokens can be read beside in this much more time; None where that is not known.

        No more than twice the widest that was measured.
        """
        if self._token_s is None:
            return None
        if duration_s <= 0:  # something took longer than foreseen
            return 0
        first_s = self._token_s + self._position_s * num_past
        # of first_s * tokens + position_s / 2 * tokens**2 == duration_s
        root = math.sqrt(first_s**2 + 2 * self._position_s * duration_s)
        most = math.inf if duration_s == math.inf else 2 * duration_s / (first_s + root)
        return min(most, 2 * self._widest)


def _num_positions(num_tokens: int, num_past: int) -> float:
    """Return how many positions a chunk's tokens attend to, all together."""
    return num_tokens * (num_past + num_tokens / 2)
