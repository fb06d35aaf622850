"""A model and its KV cache of several slots, updated in place.

Rows of a decode batch are the slots from 0 on; each has a length of its own. A prefill is one slot, a chunk
of its tokens behind those already there (the attention kernel takes several tokens with a past at batch 1
only). A folder of our builder has graphs for further passes: such a chunk beside the rows of a decode batch,
and guesses that are verified as decode steps would.

What a pass returns may lie where the next pass writes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from adapters.onnx.freed_memory import return_freed_memory
from adapters.onnx.kv_buffers import DeviceKVBuffers, HostKVBuffers, KVBuffers, numpy_dtype
from adapters.onnx.loaded_graph import Binding, LoadedGraph
from adapters.onnx.model_folder import CHUNK_NAME, CHUNK_SPLIT, CHUNK_TOTAL, VERIFIED_NAME, ModelFolder
from adapters.onnx.pass_arrays import PassArrays
from adapters.onnx.prefix_cache import BLOCK_TOKENS, NewBlocks
from adapters.onnx.providers import CPU, ProviderChoice
from adapters.onnx.sampler import Floats
from domain.errors import BackendError, ConfigurationError

TokenIds = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
NamePair: TypeAlias = tuple[str, str]
"""Of keys and of values, with ``%d`` for the layer."""
HiddenStates = npt.NDArray[np.float32]
LOGITS = "logits"
LOGITS_START = "logits_start"
"""``int64[1]``: from which of a run's positions on there are logits. Our builder's folders have it."""

MIN_TRIMMED_TOKENS = 128
"""Taking memory again costs about 20 us a token (SmolLM2-135M)."""

MAX_BESIDE_BINDINGS = 64
"""That are kept, the latest. To make one takes 1 to 2 ms (SmolLM2-135M), and 20 kB."""

_SUPPORTED_INPUTS = {"input_ids", "attention_mask"}


class OnnxSession:
    """A loaded model and its KV cache.

    Args:
        folder: the model.
        provider_choice: where to run it.
        num_threads: of ONNX Runtime within one operator.
        num_slots: sequences that the KV cache holds at once.
        max_length: tokens of one sequence, prompt and answer together.
        prefix_cache_bytes: memory for kept prefixes, at most.
        reads_beside: whether to load what ``decode_beside`` needs, where the folder has it.
        max_guesses: to verify at once, at most; what that needs is loaded where the folder has it.

    Raises:
        ConfigurationError: the graph cannot be loaded or has inputs this engine does not feed.
    """

    def __init__(
        self,
        folder: ModelFolder,
        provider_choice: ProviderChoice,
        *,
        num_threads: int,
        num_slots: int,
        max_length: int,
        prefix_cache_bytes: int = 0,
        reads_beside: bool = False,
        max_guesses: int = 0,
    ) -> None:
        self._folder = folder
        self._max_length = max_length
        self._graph = LoadedGraph(folder.model_file, provider_choice, num_threads)
        self.provider = self._graph.provider
        self._kv_dtype = self._checked_inputs()
        self._kv_names: tuple[NamePair, NamePair] = (
            (folder.past_key_name, folder.past_value_name),
            (folder.present_key_name, folder.present_value_name),
        )
        shape = (num_slots, folder.num_kv_heads, max_length, folder.head_dim)
        num_buffers = 2 * folder.num_layers
        token_bytes = num_buffers * folder.num_kv_heads * folder.head_dim * self._kv_dtype.itemsize
        num_blocks = prefix_cache_bytes // (token_bytes * BLOCK_TOKENS)
        self._buffers = _allocate(num_buffers, shape, self._kv_dtype, self.provider, num_blocks)
        self._has_logits_start = LOGITS_START in self._graph.optional_inputs
        # of other graphs neither the number nor the type of the logits is known
        keeps_logits = self._has_logits_start and self.provider == CPU
        self._arrays = PassArrays(num_slots + 1, max_length, folder.vocab_size if keeps_logits else None)
        self._reach = [0] * num_slots
        """Positions of each slot that take memory."""
        self._bindings: dict[tuple[int, int, str], Binding] = {}
        self._beside: LoadedGraph | None = None
        self._beside_bindings: OrderedDict[tuple[int, int], Binding] = OrderedDict()
        self._verifiers: dict[int, LoadedGraph] = {}
        self._verify_bindings: dict[int, tuple[Binding, int]] = {}
        if self.provider == CPU:  # the only one on which the further graphs were tried
            if reads_beside and folder.beside_file is not None:
                self._beside = LoadedGraph(folder.beside_file, ProviderChoice.CPU, num_threads)
            self._verifiers = {
                num_tokens: LoadedGraph(file, ProviderChoice.CPU, num_threads)
                for num_tokens, file in folder.verify_files.items()
                if num_tokens <= max_guesses + 1
            }

    @property
    def takes_chunks(self) -> bool:
        """Whether ``decode_beside`` works."""
        return self._beside is not None

    @property
    def verify_widths(self) -> frozenset[int]:
        """Numbers of tokens that ``verify`` takes to the bit as ``decode`` would."""
        return frozenset(self._verifiers)

    @property
    def num_prefix_blocks(self) -> int:
        """Blocks of the prefix cache."""
        return self._buffers.num_blocks

    def prefill(self, slot: int, token_ids: TokenIds, num_past: int, *, num_logits: int = 1) -> Logits:
        """Append tokens to a slot.

        Args:
            slot: the row of the KV cache.
            token_ids: ``int64[num_tokens]``, one or more.
            num_past: tokens already in the slot; what lies behind them is overwritten.
            num_logits: 0 to ``num_tokens``; without any, the output layer is not run.

        Returns:
            ``float32[num_logits, vocab]``, those behind the last of the tokens.
        """
        logits: Logits = self._append(slot, token_ids, num_past, LOGITS, num_logits)[0]
        return logits[len(logits) - num_logits :]

    def decode(self, token_ids: TokenIds, lengths: TokenIds) -> Logits:
        """Append one token to each of the slots from 0 on.

        Args:
            token_ids: ``int64[rows]``, the newest token of each row.
            lengths: ``int64[rows]``, tokens already in each slot.

        Returns:
            ``float32[rows, vocab]``.
        """
        self._rows_reached(lengths)
        return self._run(0, self._arrays.newest(token_ids), _mask_of(lengths))[:, 0]

    def decode_beside(
        self,
        token_ids: TokenIds,
        lengths: TokenIds,
        *,
        slot: int,
        chunk_ids: TokenIds,
        num_past: int,
        num_logits: int,
    ) -> tuple[Logits, Logits]:
        """Do what ``decode`` does, and append a chunk of a prompt to another slot, in one pass.

        Args:
            token_ids: ``int64[rows]``, the newest token of each row.
            lengths: ``int64[rows]``, tokens already in each slot; where the chunk's slot is a row, what that
                row writes must lie behind the chunk.
            slot: where the chunk goes.
            chunk_ids: ``int64[num_tokens]``, one or more.
            num_past: tokens already in that slot; what lies behind them is overwritten.
            num_logits: 1 for those behind the chunk's last token, or 0.

        Returns:
            ``float32[rows, vocab]`` and ``float32[num_logits, vocab]``.
        """
        num_rows, num_tokens = len(token_ids), len(chunk_ids)
        binding = self._beside_binding(num_rows, slot)
        self._rows_reached(lengths)
        self._reached(slot, num_past + num_tokens)
        logits = binding.run(
            {
                "input_ids": np.concatenate([chunk_ids, token_ids])[np.newaxis],
                "attention_mask": _mask_of(lengths),
                CHUNK_SPLIT: np.array([num_tokens, num_rows]),
                CHUNK_TOTAL: np.array([num_past + num_tokens]),
                LOGITS_START: self._arrays.logits_start(-num_rows - num_logits),
            },
            self._arrays.logits(1, num_logits + num_rows),
        )[0]
        return logits[num_logits:], logits[:num_logits]

    def verify(self, slot: int, token_ids: TokenIds, num_past: int) -> Logits:
        """Append a token and guesses behind it to a slot, as ``decode`` would one after the other.

        Where the folder has no graph for so many, they are read as ``prefill`` reads them: the logits may
        differ in their last bits, which a model of 8 bits can turn into another answer.

        Args:
            slot: the row of the KV cache.
            token_ids: ``int64[num_tokens]``.
            num_past: tokens already in the slot.

        Returns:
            ``float32[num_tokens, vocab]``.
        """
        num_tokens = len(token_ids)
        if num_tokens not in self._verifiers:
            return self.prefill(slot, token_ids, num_past, num_logits=num_tokens)
        self._reached(slot, num_past + num_tokens)
        inputs = {
            "input_ids": token_ids[np.newaxis],
            "attention_mask": self._arrays.mask(num_past + num_tokens),
        }
        result = self._arrays.logits(1, num_tokens)
        logits: Logits = self._verify_binding(num_tokens, slot).run(inputs, result)[0]
        return logits

    def hidden_states(self, slot: int, token_ids: TokenIds, num_past: int) -> HiddenStates:
        """Append tokens to a slot as ``prefill`` does; return what the head would read.

        Returns:
            ``float32[num_tokens, hidden]``.

        Raises:
            BackendError: the graph does not give its hidden states.
        """
        name = self._folder.hidden_states_name
        if name is None:
            raise BackendError("the model folder was built without hidden states")
        hidden = self._append(slot, token_ids, num_past, name, num_logits=0)
        return hidden.reshape(len(token_ids), -1)

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a slot over another."""
        self._buffers.copy_slot(source, target, length)
        self._reached(target, length)

    def trim_slot(self, slot: int, length: int) -> None:
        """Give back the memory of a slot behind its first ``length`` positions, where that is worth it.

        All of it is always worth it: whoever gives that expects no use of the slot soon.
        """
        reach = self._reach[slot]
        if reach - length >= (MIN_TRIMMED_TOKENS if length else 1):
            self._buffers.trim_slot(slot, length, reach)
            self._reach[slot] = length

    def rest(self) -> None:
        """Give back the memory that passes computed in, by a pass; slot 0 must not be in use."""
        if self.provider == CPU:
            inputs = self._inputs(np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64), 1)
            self._reached(0, 1)
            self._binding(0, 1, LOGITS).run(inputs, gives_back=True)
            return_freed_memory()

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        """Copy tokens of a slot into blocks of the prefix cache."""
        self._buffers.save_blocks(slot, blocks)

    def load_blocks(self, slot: int, block_ids: Sequence[int]) -> None:
        """Copy blocks of the prefix cache to the beginning of a slot."""
        self._buffers.load_blocks(slot, block_ids)
        self._reached(slot, len(block_ids) * BLOCK_TOKENS)

    def _append(self, slot: int, token_ids: TokenIds, num_past: int, output: str, num_logits: int) -> Floats:
        num_tokens = num_past + len(token_ids)
        self._reached(slot, num_tokens)
        fed = self._arrays.newest(token_ids) if len(token_ids) == 1 else token_ids[np.newaxis, :]
        mask = self._arrays.mask(num_tokens)
        return self._run(slot, fed, mask, output=output, num_logits=num_logits)

    def _run(
        self,
        first_slot: int,
        token_ids: TokenIds,
        mask: TokenIds,
        *,
        output: str = LOGITS,
        num_logits: int = 1,
    ) -> Floats:
        binding = self._binding(first_slot, len(token_ids), output)
        result = self._arrays.logits(len(token_ids), num_logits) if output == LOGITS else None
        return binding.run(self._inputs(token_ids, mask, num_logits), result)

    def _inputs(self, token_ids: TokenIds, mask: TokenIds, num_logits: int) -> dict[str, TokenIds]:
        inputs = {"input_ids": token_ids, "attention_mask": mask}
        if self._has_logits_start:
            first = -num_logits if num_logits > 0 else self._end_of_logits(token_ids)
            inputs[LOGITS_START] = self._arrays.logits_start(first)
        return inputs

    def _reached(self, slot: int, length: int) -> None:
        self._reach[slot] = max(self._reach[slot], length)

    def _rows_reached(self, lengths: TokenIds) -> None:
        for slot, length in enumerate(lengths.tolist()):
            self._reached(slot, length + 1)

    def _end_of_logits(self, token_ids: TokenIds) -> int:
        # CUDA's kernels were not tried on inputs without rows: there the last position is run
        return token_ids.shape[1] if self.provider == CPU else -1

    def _binding(self, first_slot: int, num_rows: int, output: str) -> Binding:
        binding = self._bindings.get((first_slot, num_rows, output))
        if binding is None:
            binding = self._bindings[first_slot, num_rows, output] = self._graph.binding(output)
            self._bind_kv(binding, first_slot, num_rows)
        return binding

    def _beside_binding(self, num_rows: int, slot: int) -> Binding:
        if self._beside is None:
            raise BackendError("no graph was loaded that takes a chunk beside rows")
        binding = self._beside_bindings.get((num_rows, slot))
        if binding is None:
            binding = self._beside_bindings[num_rows, slot] = self._beside.binding(LOGITS)
            self._bind_kv(binding, 0, num_rows)
            self._bind_kv(binding, slot, 1, CHUNK_NAME)
            if len(self._beside_bindings) > MAX_BESIDE_BINDINGS:
                self._beside_bindings.popitem(last=False)
        self._beside_bindings.move_to_end((num_rows, slot))
        return binding

    def _verify_binding(self, num_tokens: int, slot: int) -> Binding:
        binding, bound_slot = self._verify_bindings.get(num_tokens, (None, None))
        if binding is None:
            binding = self._verifiers[num_tokens].binding(LOGITS)
        if bound_slot != slot:
            for token in range(num_tokens):
                self._bind_kv(binding, slot, 1, VERIFIED_NAME % ("%s", token))
            self._verify_bindings[num_tokens] = binding, slot
        return binding

    def _bind_kv(self, binding: Binding, first_slot: int, num_rows: int, form: str = "%s") -> None:
        """Bind keys and values of slots, under names of this form."""
        folder = self._folder
        for layer in range(folder.num_layers):
            for offset, (past, present) in enumerate(zip(*self._kv_names, strict=True)):
                binding.bind_in_place(
                    form % (past % layer),
                    form % (present % layer),
                    device_type=self._buffers.device_type,
                    dtype=self._kv_dtype,
                    shape=[num_rows, folder.num_kv_heads, self._max_length, folder.head_dim],
                    address=self._buffers.address(2 * layer + offset, first_slot),
                )

    def _checked_inputs(self) -> np.dtype[Any]:
        types = self._graph.input_types
        past = {
            name % layer
            for layer in range(self._folder.num_layers)
            for name in (self._folder.past_key_name, self._folder.past_value_name)
        }
        if types.keys() != past | _SUPPORTED_INPUTS:
            unexpected = sorted(types.keys() ^ (past | _SUPPORTED_INPUTS))
            raise ConfigurationError(
                f"{self._folder.path}: the graph's inputs are not those of a decoder that this engine feeds; "
                f"the difference: {', '.join(unexpected[:5])}",
            )
        return numpy_dtype(types[self._folder.past_key_name % 0])


def _mask_of(lengths: TokenIds) -> TokenIds:
    """Return ``int64[rows, longest + 1]``: 1 for what each row has, and for the token that it gets."""
    return (np.arange(int(lengths.max()) + 1) <= lengths[:, np.newaxis]).astype(np.int64)


def _allocate(
    num_buffers: int, shape: Sequence[int], dtype: np.dtype[Any], provider: str, num_blocks: int
) -> KVBuffers:
    try:
        if provider == CPU:
            return HostKVBuffers(num_buffers, shape, dtype, num_blocks)
        return DeviceKVBuffers(num_buffers, shape, dtype, "cuda", provider)
    except (MemoryError, OSError, OverflowError, RuntimeError) as error:
        size_mib = num_buffers * int(np.prod(shape)) * dtype.itemsize >> 20
        raise ConfigurationError(
            f"the KV cache of {size_mib} MiB does not fit: lower LLM_MAX_CONTEXT_TOKENS or "
            "LLM_MAX_RUNNING_SEQUENCES",
        ) from error
