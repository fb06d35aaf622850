"""What ONNX Runtime makes of 8-bit products: with a scale found beforehand, and in blocks."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from adapters.onnx.builder.graph import GraphWriter
from adapters.onnx.builder.options import WIDE_BLOCK_SIZE

NUM_IN, NUM_OUT = 3 * WIDE_BLOCK_SIZE, 24
MAXIMUM = 8.0
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.standard_normal((NUM_OUT, NUM_IN)).astype(np.float32)
BIAS = RANDOM.standard_normal(NUM_OUT).astype(np.float32)


def product(
    folder: Path, rows: np.ndarray, *, in_blocks: bool = False, bias: np.ndarray | None = None
) -> np.ndarray:
    """Run ``rows @ WEIGHT.T + bias`` as the builder writes it."""
    model_file = folder / "model.onnx"
    with (folder / "weights").open("wb") as data_file:
        writer = GraphWriter(data_file, "weights")
        output = (
            writer.block_matmul("w", "rows", WEIGHT, 8, WIDE_BLOCK_SIZE)
            if in_blocks
            else writer.int8_matmul("w", "rows", WEIGHT, MAXIMUM, bias)
        )
        inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", NUM_IN])]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", NUM_OUT])]
        writer.save(model_file, "product", inputs, outputs)
    session = ort.InferenceSession(str(model_file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"rows": rows})[0])


def exact(rows: np.ndarray) -> np.ndarray:
    """Return the product with the weights as they are once quantised by channel."""
    scales = np.abs(WEIGHT).max(axis=1, keepdims=True) / 127
    return np.asarray(rows @ (np.rint(WEIGHT / scales) * scales).T)


@pytest.mark.parametrize("bias", [None, BIAS], ids=["without a bias", "with one"])
def test_the_error_is_of_half_a_step_of_the_inputs(bias: np.ndarray | None, tmp_path: Path) -> None:
    rows = RANDOM.uniform(-MAXIMUM, MAXIMUM, (9, NUM_IN)).astype(np.float32)

    result = product(tmp_path, rows, bias=bias)

    step = MAXIMUM / 127
    errors = np.abs(result - exact(rows) - (0 if bias is None else bias))
    assert errors.max() <= step / 2 * np.abs(WEIGHT).sum(axis=1).max() + 1e-4
    assert errors.max() > step / 20


def test_a_block_s_small_inputs_survive_beside_large_ones_in_another(tmp_path: Path) -> None:
    rows = RANDOM.uniform(-0.02, 0.02, (2, NUM_IN)).astype(np.float32)
    rows[:, 7] = MAXIMUM
    rows[1, :] *= 1000  # what another row holds is nothing to this one
    others = np.delete(np.arange(NUM_IN), np.arange(WIDE_BLOCK_SIZE))
    of_large = rows.copy()
    of_large[:, others] = 0

    errors = [
        np.abs(
            product(tmp_path, rows, in_blocks=in_blocks)[0]
            - product(tmp_path, of_large, in_blocks=in_blocks)[0]
            - rows[0, others] @ WEIGHT[:, others].T
        ).max()
        for in_blocks in (False, True)
    ]

    assert errors[1] < errors[0] / 20


def test_inputs_beyond_the_range_count_as_its_end(tmp_path: Path) -> None:
    rows = np.full((1, NUM_IN), 3 * MAXIMUM, np.float32)

    result = product(tmp_path, rows)

    np.testing.assert_allclose(result, exact(np.full((1, NUM_IN), MAXIMUM, np.float32)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("in_blocks", [False, True], ids=["by channel", "in blocks"])
def test_a_row_does_not_depend_on_the_rows_beside_it(tmp_path: Path, in_blocks: bool) -> None:
    rows = RANDOM.uniform(-1, 1, (7, NUM_IN)).astype(np.float32)
    rows[1:] *= 100

    alone = product(tmp_path, rows[:1], in_blocks=in_blocks)
    for num_rows in range(2, len(rows) + 1):
        beside = product(tmp_path, rows[:num_rows], in_blocks=in_blocks)
        np.testing.assert_array_equal(beside[:1], alone)
