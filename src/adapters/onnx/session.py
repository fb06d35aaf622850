"""One ONNX Runtime session on a model folder, with a KV cache of several slots updated in place.

Rows of a decode batch are the slots from 0 on; each has a length of its own. A prefill is one slot, a chunk
of its tokens behind those already there (the attention kernel takes several tokens with a past at batch 1
only). A graph of our builder takes such a chunk beside the rows of a decode batch, in the same pass.
"""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from adapters.onnx.kv_buffers import DeviceKVBuffers, HostKVBuffers, KVBuffers, numpy_dtype
from adapters.onnx.model_folder import ModelFolder
from adapters.onnx.prefix_cache import BLOCK_TOKENS, NewBlocks
from adapters.onnx.providers import (
    CPU,
    CUDA,
    ProviderChoice,
    has_cuda_device,
    provider_in_use,
    providers_to_try,
)
from domain.errors import BackendError, ConfigurationError

TokenIds = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
NamePair: TypeAlias = tuple[str, str]
"""Of keys and of values, with ``%d`` for the layer."""
HiddenStates = npt.NDArray[np.float32]
LOGITS = "logits"
LOGITS_START = "logits_start"
"""``int64[1]``: from which of a run's positions on there are logits. Our builder's folders have it."""

CHUNK_SPLIT, CHUNK_TOTAL = "chunk_split", "chunk_total"
CHUNK_PAST = "chunk_past.%d.key", "chunk_past.%d.value"
CHUNK_PRESENT = "chunk_present.%d.key", "chunk_present.%d.value"
"""Of graphs that take a chunk beside rows; the names are those of ``adapters.onnx.builder.attention``."""

MIN_TRIMMED_TOKENS = 128
"""Taking memory again costs about 20 us a token (SmolLM2-135M)."""

DISABLE_TILED_ATTENTION = "ORT_GQA_DISABLE_FLASH_ATTENTION"
"""Read by ONNX Runtime as it loads a graph for the CPU; 0 in the environment turns the tiled attention on."""
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
    ) -> None:
        self._folder = folder
        self._max_length = max_length
        self._session = _load(folder, provider_choice, num_threads)
        self.provider = provider_in_use(provider_choice, self._session.get_providers())
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
        optional_inputs = {node.name for node in self._session.get_overridable_initializers()}
        self._has_logits_start = LOGITS_START in optional_inputs
        self.takes_chunks = CHUNK_SPLIT in optional_inputs and self.provider == CPU
        """Whether ``decode_beside`` works."""
        self._reach = np.zeros(num_slots, np.int64)
        """Positions of each slot that take memory."""
        self._bindings: dict[tuple[int, int, str], Any] = {}
        self._chunk_bindings: dict[int, tuple[Any, int]] = {}

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
        mask = np.ones((1, num_past + len(token_ids)), np.int64)
        logits: Logits = self._run(slot, token_ids[np.newaxis, :], mask, num_logits=num_logits)[0]
        return logits[len(logits) - num_logits :]

    def decode(self, token_ids: TokenIds, lengths: TokenIds) -> Logits:
        """Append one token to each of the slots from 0 on.

        Args:
            token_ids: ``int64[rows]``, the newest token of each row.
            lengths: ``int64[rows]``, tokens already in each slot.

        Returns:
            ``float32[rows, vocab]``.
        """
        return self._run(0, token_ids[:, np.newaxis], _mask_of(lengths))[:, 0]

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
        binding = self._chunk_binding(num_rows, slot)
        _bind_optional(binding, CHUNK_SPLIT, [num_tokens, num_rows])
        _bind_optional(binding, CHUNK_TOTAL, [num_past + num_tokens])
        _bind_optional(binding, LOGITS_START, [-num_rows - num_logits])
        self._reached(0, lengths + 1)
        self._reached(slot, num_past + num_tokens)
        together = np.concatenate([chunk_ids, token_ids])[np.newaxis]
        logits = self._run_bound(binding, together, _mask_of(lengths), LOGITS)[0]
        return logits[num_logits:], logits[:num_logits]

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
        mask = np.ones((1, num_past + len(token_ids)), np.int64)
        hidden = self._run(slot, token_ids[np.newaxis, :], mask, output=name, num_logits=0)
        return hidden.reshape(len(token_ids), -1)

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a slot over another."""
        self._buffers.copy_slot(source, target, length)
        self._reached(target, length)

    def trim_slot(self, slot: int, length: int) -> None:
        """Give back the memory of a slot behind its first ``length`` positions, where that is worth it."""
        reach = int(self._reach[slot])
        if reach - length >= MIN_TRIMMED_TOKENS:
            self._buffers.trim_slot(slot, length, reach)
            self._reach[slot] = length

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        """Copy tokens of a slot into blocks of the prefix cache."""
        self._buffers.save_blocks(slot, blocks)

    def load_blocks(self, slot: int, block_ids: Sequence[int]) -> None:
        """Copy blocks of the prefix cache to the beginning of a slot."""
        self._buffers.load_blocks(slot, block_ids)
        self._reached(slot, len(block_ids) * BLOCK_TOKENS)

    def _run(
        self,
        first_slot: int,
        token_ids: TokenIds,
        mask: TokenIds,
        *,
        output: str = LOGITS,
        num_logits: int = 1,
    ) -> npt.NDArray[np.float32]:
        binding = self._binding(first_slot, len(token_ids), output)
        if self._has_logits_start:
            first = -num_logits if num_logits > 0 else self._end_of_logits(token_ids)
            _bind_optional(binding, LOGITS_START, [first])
        self._reached(first_slot, mask.sum(axis=1))
        return self._run_bound(binding, token_ids, mask, output)

    def _run_bound(
        self, binding: Any, token_ids: TokenIds, mask: TokenIds, output: str
    ) -> npt.NDArray[np.float32]:
        binding.bind_cpu_input("input_ids", token_ids)
        binding.bind_cpu_input("attention_mask", mask)
        try:
            self._session.run_with_iobinding(binding)
            return np.asarray(binding.get_outputs()[0].numpy(), np.float32)
        except Exception as error:  # its exceptions have no common base but this
            raise BackendError(f"ONNX Runtime failed: {type(error).__name__}") from error
        finally:
            # shapes differ from run to run, and each binding would keep its last output
            binding.bind_output(output, "cpu")

    def _reached(self, first_slot: int, lengths: TokenIds | int) -> None:
        rows = slice(first_slot, first_slot + np.size(lengths))
        self._reach[rows] = np.maximum(self._reach[rows], lengths)

    def _end_of_logits(self, token_ids: TokenIds) -> int:
        # CUDA's kernels were not tried on inputs without rows: there the last position is run
        return token_ids.shape[1] if self.provider == CPU else -1

    def _binding(self, first_slot: int, num_rows: int, output: str) -> Any:
        binding = self._bindings.get((first_slot, num_rows, output))
        if binding is None:
            binding = self._bindings[first_slot, num_rows, output] = self._session.io_binding()
            binding.bind_output(output, "cpu")  # first, so that it is output 0
            self._bind_kv(binding, first_slot, num_rows, *self._kv_names)
        return binding

    def _chunk_binding(self, num_rows: int, slot: int) -> Any:
        binding, bound_slot = self._chunk_bindings.get(num_rows, (None, None))
        if binding is None:
            binding = self._session.io_binding()
            binding.bind_output(LOGITS, "cpu")
            self._bind_kv(binding, 0, num_rows, *self._kv_names)
        if bound_slot != slot:
            self._bind_kv(binding, slot, 1, CHUNK_PAST, CHUNK_PRESENT)
            self._chunk_bindings[num_rows] = binding, slot
        return binding

    def _bind_kv(
        self, binding: Any, first_slot: int, num_rows: int, pasts: NamePair, presents: NamePair
    ) -> None:
        folder = self._folder
        shape = [num_rows, folder.num_kv_heads, self._max_length, folder.head_dim]
        for layer in range(folder.num_layers):
            for offset, (past, present) in enumerate(zip(pasts, presents, strict=True)):
                where = (
                    self._buffers.device_type,
                    0,
                    self._kv_dtype,
                    shape,
                    self._buffers.address(2 * layer + offset, first_slot),
                )
                binding.bind_input(past % layer, *where)
                binding.bind_output(present % layer, *where)

    def _checked_inputs(self) -> np.dtype[Any]:
        types = {node.name: node.type for node in self._session.get_inputs()}
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


def _bind_optional(binding: Any, name: str, values: list[int]) -> None:
    # bind_cpu_input knows no optional inputs
    binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.array(values, np.int64)))


def _load(folder: ModelFolder, choice: ProviderChoice, num_threads: int) -> Any:
    # the plain attention takes half the time of the tiled one for a prompt, and no more for a decode step
    os.environ.setdefault(DISABLE_TILED_ATTENTION, "1")
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # plans for one shape; passes have many, and it takes 10 MiB
    providers = providers_to_try(choice, ort.get_available_providers(), has_cuda_device=has_cuda_device())
    if CUDA in providers:
        ort.preload_dlls()  # CUDA and cuDNN from NVIDIA's wheels, where they are installed
    try:
        return ort.InferenceSession(str(folder.model_file), options, providers=list(providers))
    except Exception as error:  # its exceptions have no common base but this
        raise ConfigurationError(f"ONNX Runtime cannot load {folder.model_file}: {error}") from error


def _allocate(
    num_buffers: int, shape: Sequence[int], dtype: np.dtype[Any], provider: str, num_blocks: int
) -> KVBuffers:
    try:
        if provider == CPU:
            return HostKVBuffers(num_buffers, shape, dtype, num_blocks)
        return DeviceKVBuffers(num_buffers, shape, dtype, "cuda", provider)
    except (MemoryError, RuntimeError) as error:
        size_mib = num_buffers * int(np.prod(shape)) * dtype.itemsize >> 20
        raise ConfigurationError(
            f"the KV cache of {size_mib} MiB does not fit: lower LLM_MAX_CONTEXT_TOKENS or "
            "LLM_MAX_RUNNING_SEQUENCES",
        ) from error
