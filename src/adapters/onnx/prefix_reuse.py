"""Takes what a request has in common with earlier ones from the prefix cache, and keeps its own there."""

from adapters.onnx.model_runner import ModelRunner
from adapters.onnx.prefix_cache import BLOCK_TOKENS, PrefixCache
from adapters.onnx.sequence import Work


class PrefixReuse:
    """The prefix cache: which prefixes are kept, and the model in whose memory they lie.

    Args:
        model: has the keys and values.
        index: of what is kept.
    """

    def __init__(self, model: ModelRunner, index: PrefixCache) -> None:
        self._model = model
        self._index = index

    def begin(self, work: Work) -> None:
        """Fill a slot of which nothing is used yet with the longest kept prefix of the prompt."""
        block_ids = self._index.match(work.prompt_ids)
        if block_ids:
            self._model.load_blocks(work.held_slot, block_ids)
            work.num_cached = work.num_reused = len(block_ids) * BLOCK_TOKENS

    def keep(self, work: Work) -> None:
        """Keep what a slot has of a request, as far as it is not kept yet and there is room."""
        blocks = self._index.store(work.token_ids(0, min(work.num_cached, work.num_tokens)))
        if blocks.block_ids:
            self._model.save_blocks(work.held_slot, blocks)
