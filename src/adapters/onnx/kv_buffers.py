"""The KV cache's memory: one buffer a layer for keys and one for values, on the device that computes.

Each is ``[slots, kv_heads, max_length, head_dim]``. The graph's ``past`` input and ``present`` output are
bound to the same memory, so that a step writes its new keys and values in place and nothing is copied.

Beside them lie the blocks of the prefix cache, ``[blocks, kv_heads, BLOCK_TOKENS, head_dim]`` a buffer.
"""

import mmap
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from adapters.onnx.prefix_cache import BLOCK_TOKENS, NewBlocks
from domain.errors import ConfigurationError


class KVBuffers(Protocol):
    """Buffers that the session binds by address."""

    device_type: str
    """ONNX Runtime's name of the device: ``cpu`` or ``cuda``."""

    def address(self, buffer: int, slot: int) -> int:
        """Return the address of a slot in a buffer (``2 * layer`` for keys, ``2 * layer + 1`` for values)."""
        ...

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot over those of another, in every buffer."""
        ...

    def trim_slot(self, slot: int, length: int, reach: int) -> None:
        """Give back the memory of positions from ``length`` to ``reach``, in every buffer, if it can."""
        ...

    @property
    def num_blocks(self) -> int:
        """Blocks of the prefix cache; 0 where a device keeps none."""
        ...

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        """Copy positions of a slot into blocks, in every buffer."""
        ...

    def load_blocks(self, slot: int, block_ids: Sequence[int]) -> None:
        """Copy blocks to the beginning of a slot, in every buffer."""
        ...


class HostKVBuffers:
    """Buffers in the process's memory; the operating system hands out pages as they are first written."""

    device_type = "cpu"

    def __init__(
        self, num_buffers: int, shape: Sequence[int], dtype: npt.DTypeLike, num_blocks: int = 0
    ) -> None:
        _, num_heads, _, head_dim = shape
        self._memory = [_lazy_memory(shape, dtype) for _ in range(num_buffers)]
        self._buffers = [np.frombuffer(memory, dtype).reshape(shape) for memory in self._memory]
        self._slot_bytes = self._buffers[0].nbytes // shape[0]
        block_shape = num_blocks, num_heads, BLOCK_TOKENS, head_dim
        self._blocks = [
            np.frombuffer(_lazy_memory(block_shape, dtype), dtype).reshape(block_shape)
            if num_blocks
            else np.zeros(block_shape, dtype)
            for _ in range(num_buffers)
        ]

    def address(self, buffer: int, slot: int) -> int:
        return int(self._buffers[buffer].ctypes.data) + slot * self._slot_bytes

    def copy_slot(self, source: int, target: int, length: int) -> None:
        for buffer in self._buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def trim_slot(self, slot: int, length: int, reach: int) -> None:
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        _, num_heads, max_length, _ = self._buffers[0].shape
        position_bytes = self._slot_bytes // (num_heads * max_length)
        for head in range(num_heads):
            begin = slot * self._slot_bytes + head * max_length * position_bytes
            # whole pages of this head alone
            first = -(-(begin + length * position_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
            end = (begin + reach * position_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if first < end:
                for memory in self._memory:
                    memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    @property
    def num_blocks(self) -> int:
        return len(self._blocks[0])

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        start = blocks.first * BLOCK_TOKENS
        end = start + len(blocks.block_ids) * BLOCK_TOKENS
        for buffer, kept in zip(self._buffers, self._blocks, strict=True):
            kept[blocks.block_ids] = _by_block(buffer[slot, :, start:end])

    def load_blocks(self, slot: int, block_ids: Sequence[int]) -> None:
        end = len(block_ids) * BLOCK_TOKENS
        for buffer, kept in zip(self._buffers, self._blocks, strict=True):
            _by_block(buffer[slot, :, :end])[:] = kept[block_ids]


def _lazy_memory(shape: Sequence[int], dtype: npt.DTypeLike) -> mmap.mmap:
    """Return zeroed memory that is taken a small page at a time, and can be given back in part.

    numpy asks for huge pages, of which each token of a new slot touches one a buffer: that took 0.35 s and
    120 MB a slot.
    """
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return mmap.mmap(-1, num_bytes)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def _by_block(positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View ``[kv_heads, tokens, head_dim]`` as ``[blocks, kv_heads, BLOCK_TOKENS, head_dim]``."""
    num_heads, num_tokens, head_dim = positions.shape
    split = positions.reshape(num_heads, num_tokens // BLOCK_TOKENS, BLOCK_TOKENS, head_dim)
    return split.transpose(1, 0, 2, 3)


class DeviceKVBuffers:
    """Buffers in a device's memory, as ``OrtValue``.

    ONNX Runtime has no call that copies inside a device, so ``copy_slot`` runs a graph of one ``Identity``
    with its input and output bound to the two slots. A graph binds whole slots only, so no prefixes are kept.
    """

    num_blocks = 0

    def __init__(
        self, num_buffers: int, shape: Sequence[int], dtype: npt.DTypeLike, device_type: str, provider: str
    ) -> None:
        self.device_type = device_type
        self._dtype = np.dtype(dtype)
        self._slot_shape = [1, *shape[1:]]
        self._slot_bytes = int(np.prod(self._slot_shape)) * self._dtype.itemsize
        self._buffers = [
            ort.OrtValue.ortvalue_from_shape_and_type(list(shape), self._dtype, device_type, 0)
            for _ in range(num_buffers)
        ]
        self._copier = _copy_session(self._dtype, self._slot_shape, provider)

    def address(self, buffer: int, slot: int) -> int:
        return int(self._buffers[buffer].data_ptr()) + slot * self._slot_bytes

    def copy_slot(self, source: int, target: int, length: int) -> None:  # noqa: ARG002 - one run a slot
        for buffer in range(len(self._buffers)):
            binding = self._copier.io_binding()
            for bind, name, slot in (
                (binding.bind_input, "source", source),
                (binding.bind_output, "target", target),
            ):
                bind(name, self.device_type, 0, self._dtype, self._slot_shape, self.address(buffer, slot))
            self._copier.run_with_iobinding(binding)

    def trim_slot(self, slot: int, length: int, reach: int) -> None:
        """Have nothing to do: the device's memory was taken at the start."""

    def save_blocks(self, slot: int, blocks: NewBlocks) -> None:
        """Have nothing to do: there are no blocks."""

    def load_blocks(self, slot: int, block_ids: Sequence[int]) -> None:
        """Have nothing to do: there are no blocks."""


def _copy_session(dtype: np.dtype[Any], shape: Sequence[int], provider: str) -> Any:
    element = helper.np_dtype_to_tensor_dtype(dtype)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["source"], ["target"])],
        "copy_slot",
        [helper.make_tensor_value_info("source", element, shape)],
        [helper.make_tensor_value_info("target", element, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=[provider])


_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}


def numpy_dtype(onnx_type: str) -> np.dtype[Any]:
    """Return numpy's dtype for an input type as ONNX Runtime prints it (``tensor(float)``).

    Raises:
        ConfigurationError: keys and values of this type are not known here.
    """
    try:
        return _NUMPY_DTYPES[onnx_type]
    except KeyError as error:
        known = ", ".join(_NUMPY_DTYPES)
        raise ConfigurationError(f"keys and values are {onnx_type}; this engine has {known}") from error
