"""What decode steps are fed from and write to. An array that a binding has already need not be bound again.

Between two passes the processor's caches are full of weights: what takes 2 us in a loop takes 20 there.
"""

import math

import numpy as np

from adapters.onnx.sampler import Floats, Ints


class PassArrays:
    """The arrays of one session, which each pass writes over.

    Args:
        num_rows: of a pass, at most.
        max_length: tokens of one sequence, at most.
        vocab_size: logits of a row, ``float32`` in the processor's memory; None: they are something else.
    """

    def __init__(self, num_rows: int, max_length: int, vocab_size: int | None) -> None:
        self._newest = [np.zeros((num, 1), np.int64) for num in range(num_rows + 1)]
        self._ones = np.ones((1, max_length), np.int64)
        self._starts: dict[int, Ints] = {}
        self._memory = np.empty(num_rows * (vocab_size or 0), np.float32)
        self._logits: dict[tuple[int, ...], Floats] = {}
        self._vocab_size = vocab_size

    def newest(self, token_ids: Ints) -> Ints:
        """Return ``int64[rows, 1]`` with these tokens, ``int64[rows]``."""
        rows = self._newest[len(token_ids)]
        rows[:, 0] = token_ids
        return rows

    def mask(self, num_tokens: int) -> Ints:
        """Return the mask of one row, ``int64[1, num_tokens]``."""
        return self._ones[:, :num_tokens]

    def logits_start(self, first: int) -> Ints:
        """Return ``int64[1]``."""
        if (start := self._starts.get(first)) is None:
            start = self._starts[first] = np.array([first])
        return start

    def logits(self, *shape: int) -> Floats | None:
        """Return memory for logits, ``float32[*shape, vocab]``; None where it has not so much."""
        if (logits := self._logits.get(shape)) is not None or self._vocab_size is None:
            return logits
        num_logits = math.prod(shape) * self._vocab_size
        if num_logits > len(self._memory):
            return None
        logits = self._memory[:num_logits].reshape(*shape, self._vocab_size)
        return self._logits.setdefault(shape, logits)
