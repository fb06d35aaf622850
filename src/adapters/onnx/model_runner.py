"""``ModelRunner``: what the engine needs of a model."""

from typing import Protocol

from adapters.onnx.prefix_cache import NewBlocks
from adapters.onnx.sampler import Floats, Ints


class ModelRunner(Protocol):
    """A model and its KV cache; see ``adapters.onnx.session.OnnxSession``."""

    def prefill(self, slot: int, token_ids: Ints, num_past: int, *, num_logits: int = 1) -> Floats:
        """Append ``int64[n]`` tokens to a slot; return the last ``float32[num_logits, vocab]``, if any."""
        ...

    def decode(self, token_ids: Ints, lengths: Ints) -> Floats:
        """Append a token to each slot from 0 on; return logits ``float32[rows, vocab]``."""
        ...

    @property
    def takes_chunks(self) -> bool:
        """Whether ``decode_beside`` works."""
        ...

    def decode_beside(
        self, token_ids: Ints, lengths: Ints, *, slot: int, chunk_ids: Ints, num_past: int, num_logits: int
    ) -> tuple[Floats, Floats]:
        """Do what ``decode`` does and append ``int64[n]`` tokens to a slot that does not decode.

        Where that slot is one of the rows all the same, what its row writes must lie behind the chunk.

        Returns:
            ``float32[rows, vocab]``, and ``float32[num_logits, vocab]`` behind the chunk.
        """
        ...

    def verify(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        """Append a token and guesses, ``int64[n]``, to a slot; return logits ``float32[n, vocab]``."""
        ...

    def hidden_states(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        """Append ``int64[n]`` tokens to a slot; return the last layer's ``float32[n, hidden]``."""
        ...

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a slot over another."""
        ...

    def trim_slot(self, slot: int, length: int) -> None:
        """Give back the memory of a slot behind its first ``length`` positions, where that is worth it."""
        ...

    def rest(self) -> None:
        """Give back the memory that passes computed in; no slot may be in use."""
        ...

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        """Copy tokens of a slot into blocks of the prefix cache."""
        ...

    def load_blocks(self, slot: int, block_ids: list[int]) -> None:
        """Copy blocks of the prefix cache to the beginning of a slot."""
        ...
