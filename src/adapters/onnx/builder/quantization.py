"""Quantisation in the layouts of ONNX Runtime's kernels.

In blocks (``com.microsoft.MatMulNBits`` and ``GatherBlockQuantized``): each row of a weight ``[out, in]`` is
cut into blocks of inputs. A block keeps a float scale and an integer zero point:
``w ≈ (q - zero_point) * scale``, rounded to nearest, with 0 always exact. A block that was quantised before
by a scale alone (GGUF's Q8_0) keeps its values.

By channel (``com.microsoft.MatMulIntegerToFloat``): each row keeps one float scale, ``w ≈ q * scale``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapters.onnx.builder.architecture import Floats
from adapters.onnx.builder.options import BLOCK_SIZE

Bytes = npt.NDArray[np.uint8]
SignedBytes = npt.NDArray[np.int8]

BITS_OF_A_BYTE = 8
HIGHEST_SIGNED_BYTE = 127


@dataclass(frozen=True, slots=True)
class BlockQuantized:
    """A quantised matrix; 4-bit values are packed two to a byte, the lower half first."""

    bits: int
    values: Bytes
    """``uint8[out, blocks, block_size * bits / 8]``."""
    scales: Floats
    """``float32[out, blocks]``."""
    zero_points: Bytes
    """``uint8[out, ceil(blocks * bits / 8)]``."""


def quantize_blocks(weight: Floats, bits: int, block_size: int = BLOCK_SIZE) -> BlockQuantized:
    """Quantise ``float32[out, in]`` to 8 or 4 bits; a last block that is not full is filled with zeros."""
    blocks = _blocks(weight, block_size)
    highest_level = 2**bits - 1
    low = np.minimum(blocks.min(axis=-1), 0)
    high = np.maximum(blocks.max(axis=-1), 0)
    scales = ((high - low) / highest_level).astype(np.float32)
    scales[scales == 0] = 1
    zero_points = np.clip(np.rint(-low / scales), 0, highest_level)
    had_scale, own_scales = _own_scales(blocks, 2 ** (bits - 1) - 1)
    scales[had_scale], zero_points[had_scale] = own_scales[had_scale], 2 ** (bits - 1)
    levels = np.rint(blocks / scales[..., np.newaxis]) + zero_points[..., np.newaxis]
    values = np.clip(levels, 0, highest_level).astype(np.uint8)
    return BlockQuantized(
        bits,
        values if bits == BITS_OF_A_BYTE else _packed(values),
        scales,
        zero_points.astype(np.uint8) if bits == BITS_OF_A_BYTE else _packed(zero_points.astype(np.uint8)),
    )


def has_byte_blocks(weight: Floats) -> bool:
    """Tell whether ``quantize_blocks(weight, 8)`` loses nothing of ``float32[out, in]``."""
    return bool(_own_scales(_blocks(weight, BLOCK_SIZE), HIGHEST_SIGNED_BYTE)[0].all())


@dataclass(frozen=True, slots=True)
class ChannelQuantized:
    """A matrix of signed bytes with a scale for each output.

    Signed, because only then do the kernels use the CPU's wide integer products (VNNI, AMX).
    """

    values: SignedBytes
    """``int8[out, in]``, symmetric: -127 to 127."""
    scales: Floats
    """``float32[out]``."""


def quantize_channels(weight: Floats) -> ChannelQuantized:
    """Quantise ``float32[out, in]`` to 8 bits."""
    scales = (np.abs(weight).max(axis=1) / HIGHEST_SIGNED_BYTE).astype(np.float32)
    scales[scales == 0] = 1
    return ChannelQuantized(np.rint(weight / scales[:, np.newaxis]).astype(np.int8), scales)


def _blocks(weight: Floats, block_size: int) -> Floats:
    num_out, num_in = weight.shape
    return np.pad(weight, ((0, 0), (0, -num_in % block_size))).reshape(num_out, -1, block_size)


def _own_scales(blocks: Floats, highest: int) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return which blocks are whole multiples, up to ``highest``, of a scale, and the scale of each."""
    scales = (np.abs(blocks).max(axis=-1) / highest).astype(np.float32)
    scales[scales == 0] = 1
    steps = scales[..., np.newaxis]
    return (np.rint(blocks / steps) * steps == blocks).all(axis=-1), scales


def _packed(nibbles: Bytes) -> Bytes:
    """Pack the last axis two values to a byte, the first in the lower half."""
    if nibbles.shape[-1] % 2:
        nibbles = np.concatenate([nibbles, np.zeros_like(nibbles[..., :1])], axis=-1)
    return np.asarray(nibbles[..., ::2] | (nibbles[..., 1::2] << 4), np.uint8)
