"""Quantisation, in blocks and by channel, and its layout."""

import numpy as np
import pytest

from adapters.onnx.builder.options import BLOCK_SIZE, WIDE_BLOCK_SIZE
from adapters.onnx.builder.quantization import (
    BlockQuantized,
    has_byte_blocks,
    quantize_blocks,
    quantize_channels,
)


def unpacked(values: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Undo the packing of the last axis."""
    if bits == 8:
        return values
    pairs = np.stack([values & 0xF, values >> 4], axis=-1)
    return np.asarray(pairs.reshape(*values.shape[:-1], -1)[..., :count])


def dequantized(quantized: BlockQuantized, num_in: int) -> np.ndarray:
    num_blocks = quantized.scales.shape[1]
    block_size = quantized.values.shape[2] * 8 // quantized.bits
    levels = unpacked(quantized.values, quantized.bits, block_size).astype(np.float64)
    zero_points = unpacked(quantized.zero_points, quantized.bits, num_blocks)[..., np.newaxis]
    weights = (levels - zero_points) * quantized.scales[..., np.newaxis]
    return np.asarray(weights.reshape(len(weights), -1)[:, :num_in])


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("block_size", [BLOCK_SIZE, WIDE_BLOCK_SIZE])
@pytest.mark.parametrize("num_in", [32, 96, 100, 7])
def test_each_weight_is_within_half_a_step(bits: int, block_size: int, num_in: int) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (5, num_in)).astype(np.float32)

    quantized = quantize_blocks(weight, bits, block_size)

    error = np.abs(dequantized(quantized, num_in) - weight)
    step = np.repeat(quantized.scales, block_size, axis=1)[:, :num_in]
    # rounding the zero point moves the ends of the range by another half step
    assert (error <= step * 1.001).all()
    assert np.median(error / step) < 0.3


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zero_and_signs_stay(bits: int) -> None:
    weight = np.zeros((2, 64), np.float32)
    weight[1, 3], weight[1, 40] = 2.0, -3.0

    restored = dequantized(quantize_blocks(weight, bits), 64)

    assert (restored[weight == 0] == 0).all()
    assert restored[1, 3] == pytest.approx(2.0, rel=0.01)
    assert restored[1, 40] == pytest.approx(-3.0, rel=0.01)


@pytest.mark.parametrize("num_in", [64, 50])
def test_what_was_bytes_with_a_scale_stays_as_it_is(num_in: int) -> None:
    random = np.random.default_rng(1)
    levels = random.integers(-127, 128, (20, 2, BLOCK_SIZE))
    levels[..., 0] = random.choice([-127, 127], (20, 2))
    scales = random.normal(0, 0.01, (20, 2, 1)).astype(np.float16).astype(np.float32)
    weight = np.asarray(levels * scales, np.float32).reshape(20, -1)[:, :num_in]

    assert has_byte_blocks(weight)
    np.testing.assert_array_equal(dequantized(quantize_blocks(weight, 8), num_in), weight)


def test_a_weight_of_more_bits_is_told_from_bytes() -> None:
    weight = np.random.default_rng(2).normal(0, 1, (20, 64)).astype(np.float32)

    assert not has_byte_blocks(weight)


def test_four_bits_are_packed_lower_half_first() -> None:
    weight = np.arange(16, dtype=np.float32)[np.newaxis].repeat(2, axis=1)

    quantized = quantize_blocks(weight, 4)

    assert quantized.values.shape == (1, 1, 16)
    assert quantized.values[0, 0, 0] == 0x00
    assert quantized.values[0, 0, 1] == 0x11


def test_by_channel_each_weight_is_within_half_a_step_of_its_row() -> None:
    weight = np.random.default_rng(0).normal(0, [[0.01], [1.0], [100.0], [0.0]], (4, 50)).astype(np.float32)

    quantized = quantize_channels(weight)

    restored = quantized.values * quantized.scales[:, np.newaxis]
    assert quantized.values.dtype == np.int8
    assert (np.abs(restored - weight) <= quantized.scales[:, np.newaxis] * 0.501).all()
    assert np.abs(quantized.values).max(axis=1).tolist() == [127, 127, 127, 0]
