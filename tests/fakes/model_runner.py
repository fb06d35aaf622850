"""A model runner that reads its KV cache honestly: the next token depends on every token in the slot."""

import numpy as np

from adapters.onnx.prefix_cache import BLOCK_TOKENS, NewBlocks
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
        num_blocks: of the prefix cache.
        takes_chunks: whether it can read a chunk in the pass that decodes.
    """

    def __init__(
        self,
        num_slots: int,
        max_length: int,
        fails_at: int | None = None,
        num_blocks: int = 0,
        *,
        takes_chunks: bool = True,
    ) -> None:
        self._cache = np.full((num_slots, max_length), -1, np.int64)
        self._blocks = np.full((num_blocks, BLOCK_TOKENS), -1, np.int64)
        self._fails_at = fails_at
        self.takes_chunks = takes_chunks
        self.num_calls = 0
        self.prefill_sizes: list[int] = []
        self.decode_sizes: list[int] = []
        self.beside_sizes: list[int] = []

    def prefill(self, slot: int, token_ids: Ints, num_past: int, *, num_logits: int = 1) -> Floats:
        self._count()
        self.prefill_sizes.append(len(token_ids))
        end = num_past + len(token_ids)
        self._cache[slot, num_past:end] = token_ids
        logits = [self._logits(slot, length + 1) for length in range(end - num_logits, end)]
        return np.array(logits, np.float32).reshape(num_logits, VOCAB_SIZE)

    def decode(self, token_ids: Ints, lengths: Ints) -> Floats:
        self._count()
        self.decode_sizes.append(len(token_ids))
        self._cache[np.arange(len(token_ids)), lengths] = token_ids
        return np.stack([self._logits(slot, int(length) + 1) for slot, length in enumerate(lengths)])

    def decode_beside(
        self, token_ids: Ints, lengths: Ints, *, slot: int, chunk_ids: Ints, num_past: int, num_logits: int
    ) -> tuple[Floats, Floats]:
        self.beside_sizes.append(len(chunk_ids))
        self._cache[slot, num_past : num_past + len(chunk_ids)] = -1  # whatever order they are written in
        logits = self.decode(token_ids, lengths)
        end = num_past + len(chunk_ids)
        assert np.all(self._cache[slot, num_past:end] == -1), "a row wrote into the chunk"
        self._cache[slot, num_past:end] = chunk_ids
        behind = [self._logits(slot, length + 1) for length in range(end - num_logits, end)]
        return logits, np.array(behind, np.float32).reshape(num_logits, VOCAB_SIZE)

    def verify(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        return self.prefill(slot, token_ids, num_past, num_logits=len(token_ids))

    def hidden_states(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        """Return one-hot rows of the tokens themselves."""
        self.prefill(slot, token_ids, num_past)
        return np.eye(VOCAB_SIZE, dtype=np.float32)[token_ids]

    def copy_slot(self, source: int, target: int, length: int) -> None:
        self._cache[target, :length] = self._cache[source, :length]

    def trim_slot(self, slot: int, length: int) -> None:
        self._cache[slot, length:] = -1

    def rest(self) -> None:
        """Have nothing to give back."""

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        for index, block_id in enumerate(blocks.block_ids, blocks.first):
            self._blocks[block_id] = self._cache[slot, index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS]

    def load_blocks(self, slot: int, block_ids: list[int]) -> None:
        for index, block_id in enumerate(block_ids):
            self._cache[slot, index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS] = self._blocks[block_id]

    def _logits(self, slot: int, length: int) -> Floats:
        logits = np.zeros(VOCAB_SIZE, np.float32)
        logits[next_token_id(self._cache[slot, :length].tolist())] = 5.0
        return logits

    def _count(self) -> None:
        if self.num_calls == self._fails_at:
            self.num_calls += 1
            raise BackendError("the device is lost")
        self.num_calls += 1
