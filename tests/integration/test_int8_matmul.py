"""What ONNX Runtime makes of an 8-bit product with scales found beforehand."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from adapters.onnx.builder.graph import GraphWriter

NUM_IN, NUM_OUT = 64, 24
MAXIMUM = 8.0
RANDOM = np.random.default_rng(3)
WEIGHT = RANDOM.standard_normal((NUM_OUT, NUM_IN)).astype(np.float32)
BIAS = RANDOM.standard_normal(NUM_OUT).astype(np.float32)


def product(
    folder: Path, rows: np.ndarray, *, num_bytes: int = 1, bias: np.ndarray | None = None
) -> np.ndarray:
    """Run ``rows @ WEIGHT.T + bias`` as the builder writes it."""
    model_file = folder / "model.onnx"
    with (folder / "weights").open("wb") as data_file:
        writer = GraphWriter(data_file, "weights")
        output = (
            writer.two_byte_matmul("w", "rows", WEIGHT, MAXIMUM)
            if num_bytes == 2
            else writer.int8_matmul("w", "rows", WEIGHT, MAXIMUM, bias)
        )
        inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", NUM_IN])]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", NUM_OUT])]
        writer.save(model_file, "product", inputs, outputs)
    session = ort.InferenceSession(str(model_file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"rows": rows})[0])


def exact(rows: np.ndarray) -> np.ndarray:
    """Return the product with the weights as they are once quantised."""
    scales = np.abs(WEIGHT).max(axis=1, keepdims=True) / 127
    return np.asarray(rows @ (np.rint(WEIGHT / scales) * scales).T)


@pytest.mark.parametrize(
    ("num_bytes", "step", "bias"),
    [(1, MAXIMUM / 127, None), (1, MAXIMUM / 127, BIAS), (2, MAXIMUM / 127 / 254, None)],
    ids=["a byte", "with a bias", "two bytes"],
)
def test_the_error_is_of_half_a_step_of_the_inputs(
    num_bytes: int, step: float, bias: np.ndarray | None, tmp_path: Path
) -> None:
    rows = RANDOM.uniform(-MAXIMUM, MAXIMUM, (9, NUM_IN)).astype(np.float32)

    result = product(tmp_path, rows, num_bytes=num_bytes, bias=bias)

    errors = np.abs(result - exact(rows) - (0 if bias is None else bias))
    assert errors.max() <= step / 2 * np.abs(WEIGHT).sum(axis=1).max() + 1e-4
    if num_bytes == 1:
        assert errors.max() > step / 20


def test_small_inputs_beside_a_large_one_survive_as_two_bytes(tmp_path: Path) -> None:
    rows = RANDOM.uniform(-0.02, 0.02, (1, NUM_IN)).astype(np.float32)
    rows[0, 7] = MAXIMUM

    errors = [
        np.abs(product(tmp_path, rows, num_bytes=num_bytes) - exact(rows)).max() for num_bytes in (1, 2)
    ]

    assert errors[1] < errors[0] / 20


def test_inputs_beyond_the_range_count_as_its_end(tmp_path: Path) -> None:
    rows = np.full((1, NUM_IN), 3 * MAXIMUM, np.float32)

    one, two = (product(tmp_path, rows, num_bytes=num_bytes) for num_bytes in (1, 2))

    np.testing.assert_allclose(one, exact(np.full((1, NUM_IN), MAXIMUM, np.float32)), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(two, one, rtol=0.01, atol=0.1)


@pytest.mark.parametrize("num_bytes", [1, 2])
def test_a_row_does_not_depend_on_the_rows_beside_it(tmp_path: Path, num_bytes: int) -> None:
    rows = RANDOM.uniform(-1, 1, (4, NUM_IN)).astype(np.float32)
    rows[1:] *= 100

    alone = product(tmp_path, rows[:1], num_bytes=num_bytes)
    np.testing.assert_array_equal(product(tmp_path, rows, num_bytes=num_bytes)[:1], alone)
