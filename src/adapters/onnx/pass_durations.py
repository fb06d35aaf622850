"""How long passes take, learnt from those that ran; the latest weigh most."""

import math

PASS_MEMORY = 0.8
"""What a measured pass weighs once the next is measured."""
LEARNING_RATE = 0.3
TOKENS_AS_COSTLY = 16
"""Of a prompt: as much as a decode step without them, at most; parts a surprise between the two."""
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


class DecodeDurations:
    """How long a decode step takes, and each token of a prompt that is read beside its rows.

    Two figures from one measurement: what was not foreseen is put down to both by normalised least mean
    squares (Nagumo and Noda 1967), so that neither needs steps without the other.
    """

    def __init__(self) -> None:
        self.decode_s = 0.0
        """Without tokens beside; 0 until one ran."""
        self._token_s: float | None = None
        self._widest = 0.0

    def measured(self, num_beside: int, duration_s: float) -> None:
        """Take note of a step."""
        if self.decode_s == 0:
            self.decode_s = duration_s
        if num_beside == 0:
            self.decode_s += LEARNING_RATE * (duration_s - self.decode_s)
            return
        least_s = LEAST_SHARE * duration_s / (num_beside + TOKENS_AS_COSTLY)
        if self._token_s is None:
            self._token_s = max((duration_s - self.decode_s) / num_beside, least_s)
        error_s = duration_s - self.decode_s - self._token_s * num_beside
        share = num_beside / TOKENS_AS_COSTLY
        step_s = LEARNING_RATE * error_s / (1 + share**2)
        self.decode_s = max(self.decode_s + step_s, least_s)
        self._token_s = max(self._token_s + step_s * share / TOKENS_AS_COSTLY, least_s)
        self._widest = max(PASS_MEMORY * self._widest, num_beside)

    def beside_s(self, num_tokens: int) -> float:
        """Return how much longer a step takes with so many tokens beside; 0 where that is not known."""
        return (self._token_s or 0.0) * num_tokens

    def most_tokens(self, duration_s: float) -> float | None:
        """Return how many tokens can be read beside in this much more time; None where that is not known.

        No more than twice the widest that was measured: duration grows faster than the tokens.
        """
        if self._token_s is None:
            return None
        return min(duration_s / self._token_s, 2 * self._widest)
