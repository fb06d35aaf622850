"""How many tokens of a prompt one step reads, so that answers under way do not stall behind it.

A chunk may take a few times as long as the decode step beside it. How long either takes is measured as they
run.
"""

MIN_CHUNK_TOKENS = 16
ROUND_TO_TOKENS = 8
LEARNING_RATE = 0.2


class PrefillBudget:
    """The size of the next chunk.

    Args:
        max_chunk_tokens: at most, and where nobody decodes.
        max_stall: how long a chunk may take, in decode steps.
    """

    def __init__(self, max_chunk_tokens: int, max_stall: float) -> None:
        self._max_chunk_tokens = max_chunk_tokens
        self._max_stall = max_stall
        self._decode_s: float | None = None
        self._token_s: float | None = None

    def num_tokens(self, *, num_decoding: int) -> int:
        """Return the size of the next chunk, at most."""
        if num_decoding == 0:
            return self._max_chunk_tokens
        if self._decode_s is None or self._token_s is None:
            return min(MIN_CHUNK_TOKENS, self._max_chunk_tokens)
        fitting = int(self._max_stall * self._decode_s / self._token_s)
        rounded = fitting // ROUND_TO_TOKENS * ROUND_TO_TOKENS
        return min(max(rounded, MIN_CHUNK_TOKENS), self._max_chunk_tokens)

    def decoded(self, duration_s: float) -> None:
        """Take note of a decode step."""
        self._decode_s = _learned(self._decode_s, duration_s)

    def prefilled(self, num_tokens: int, duration_s: float) -> None:
        """Take note of a chunk; tiny ones at a prompt's end say little."""
        if num_tokens >= MIN_CHUNK_TOKENS:
            self._token_s = _learned(self._token_s, duration_s / num_tokens)


def _learned(known: float | None, measured: float) -> float:
    return measured if known is None else known + LEARNING_RATE * (measured - known)
