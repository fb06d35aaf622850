"""KV buffers: both kinds do the same, shown on the CPU."""

import ctypes
import os
from typing import Any

import numpy as np
import pytest
from bench.server_process import size_bytes

from adapters.onnx.kv_buffers import DeviceKVBuffers, HostKVBuffers, KVBuffers, numpy_dtype
from adapters.onnx.prefix_cache import BLOCK_TOKENS, NewBlocks
from adapters.onnx.providers import CPU

SHAPE = (3, 2, 5, 4)
SLOT_SIZE = 2 * 5 * 4


@pytest.fixture(params=["host", "device"])
def buffers(request: pytest.FixtureRequest) -> KVBuffers:
    if request.param == "host":
        return HostKVBuffers(4, SHAPE, np.float32)
    return DeviceKVBuffers(4, SHAPE, np.float32, "cpu", CPU)


def slot(buffers: KVBuffers, buffer: int, index: int) -> Any:
    """The memory at a slot's address."""
    pointer = ctypes.cast(buffers.address(buffer, index), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (SLOT_SIZE,)).reshape(SHAPE[1:])


def test_slots_lie_side_by_side_and_buffers_apart(buffers: KVBuffers) -> None:
    for buffer in range(4):
        for index in range(3):
            slot(buffers, buffer, index)[:] = 10 * buffer + index

    for buffer in range(4):
        assert buffers.address(buffer, 1) - buffers.address(buffer, 0) == SLOT_SIZE * 4
        for index in range(3):
            assert (slot(buffers, buffer, index) == 10 * buffer + index).all()


def test_copy_slot_copies_the_tokens_of_every_buffer_and_no_other_slot(buffers: KVBuffers) -> None:
    for buffer in range(4):
        for index in range(3):
            slot(buffers, buffer, index)[:] = 10 * buffer + index

    buffers.copy_slot(2, 0, 3)

    for buffer in range(4):
        assert (slot(buffers, buffer, 0)[:, :3] == 10 * buffer + 2).all()
        assert (slot(buffers, buffer, 1) == 10 * buffer + 1).all()
        assert (slot(buffers, buffer, 2) == 10 * buffer + 2).all()


def test_a_trimmed_slot_keeps_its_first_positions_and_leaves_others_alone() -> None:
    shape = (3, 2, 2048, 64)  # 16 positions a page
    buffers = HostKVBuffers(2, shape, np.float32)
    whole = [
        np.ctypeslib.as_array(ctypes.cast(buffers.address(buffer, 0), ctypes.POINTER(ctypes.c_float)), shape)
        for buffer in range(2)
    ]
    for array in whole:
        array[:] = 1

    buffers.trim_slot(1, 100, 500)

    for array in whole:
        assert (array[1, :, :100] == 1).all()
        assert (array[1, :, 112:496] == 0).all()
        assert (array[1, :, 500:] == 1).all()
        assert (array[[0, 2]] == 1).all()
        array[1] = 2  # it can be taken again
        assert (array[1] == 2).all()
        array[1, :, 112:496] = 1
    size_bytes(os.getpid(), "Rss")  # what reading takes is taken by then
    taken_bytes = size_bytes(os.getpid(), "Rss")

    buffers.trim_slot(1, 0, 2048)

    assert taken_bytes - size_bytes(os.getpid(), "Rss") > 2 * 2 * 2048 * 64 * 4 * 0.9


def test_a_slot_smaller_than_a_page_is_not_trimmed(buffers: KVBuffers) -> None:
    slot(buffers, 0, 1)[:] = 1

    buffers.trim_slot(1, 0, 5)

    assert (slot(buffers, 0, 1) == 1).all()


def test_the_dtypes_of_the_cache() -> None:
    assert numpy_dtype("tensor(float)") == np.float32
    assert numpy_dtype("tensor(float16)") == np.float16


def test_blocks_bring_positions_back_into_any_slot() -> None:
    num_tokens = 3 * BLOCK_TOKENS
    buffers = HostKVBuffers(2, (2, 3, num_tokens, 4), np.float32, num_blocks=4)
    written = np.random.default_rng(0).random((2, 3, num_tokens, 4), np.float32)
    for buffer in range(2):
        buffers._buffers[buffer][1] = written[buffer]

    buffers.save_blocks(1, NewBlocks(1, [3, 0]))
    buffers.load_blocks(0, [3, 0])

    for buffer in range(2):
        np.testing.assert_array_equal(
            buffers._buffers[buffer][0, :, : 2 * BLOCK_TOKENS], written[buffer][:, BLOCK_TOKENS:]
        )


def test_a_device_keeps_no_blocks() -> None:
    assert DeviceKVBuffers(2, SHAPE, np.float32, "cpu", CPU).num_blocks == 0
