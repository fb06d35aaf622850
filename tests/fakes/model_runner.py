"""A model runner that reads its KV cache honestly: the next token depends on every token in the slot."""

import numpy as np

from adapters.onnx.sampler import Floats, Ints
from domain.errors import BackendError

VOCAB_SIZE = 50


def next_token_id(token_ids: list[int]) -> int:
    """Return what the model says after these tokens."""
    state = 17
    for position, token_id in enumerate(token_ids):
        state = (state * 31 + token_id * (position + 1) + 7) % 100_003
    return state % VOCAB_SIZE


class CachingModelRunner:
    """Its "keys and values" are the token ids themselves.

    Args:
        num_slots: rows of the cache.
        max_length: columns of it.
        fails_at: fails on the call of this number, counted from 0.
    """

    def __init__(self, num_slots: int, max_length: int, fails_at: int | None = None) -> None:
        self._cache = np.full((num_slots, max_length), -1, np.int64)
        self._fails_at = fails_at
        self.num_calls = 0
        self.prefill_sizes: list[int] = []
        self.decode_sizes: list[int] = []

    def prefill(self, slot: int, token_ids: Ints, num_past: int, *, num_logits: int = 1) -> Floats:
        self._count()
        self.prefill_sizes.append(len(token_ids))
        self._cache[slot, num_past : num_past + len(token_ids)] = token_ids
        end = num_past + len(token_ids)
        return np.stack([self._logits(slot, i + 1) for i in range(end - num_logits, end)])

    def decode(self, token_ids: Ints, lengths: Ints) -> Floats:
        self._count()
        self.decode_sizes.append(len(token_ids))
        self._cache[np.arange(len(token_ids)), lengths] = token_ids
        return np.stack([self._logits(slot, int(length) + 1) for slot, length in enumerate(lengths)])

    def hidden_states(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        """Return one-hot rows of the tokens themselves."""
        self.prefill(slot, token_ids, num_past)
        return np.eye(VOCAB_SIZE, dtype=np.float32)[token_ids]

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self._cache[target, :length] = self._cache[source, :length]

    def _logits(self, slot: int, length: int) -> Floats:
        logits = np.zeros(VOCAB_SIZE, np.float32)
        logits[next_token_id(self._cache[slot, :length].tolist())] = 5.0
        return logits

    def _count(self) -> None:
        if self.num_calls == self._fails_at:
            self.num_calls += 1
            raise BackendError("the device is lost")
        self.num_calls += 1
