"""Small random ONNX heads for circuits, written without torch."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_head(path: Path, sizes: tuple[int, ...], *, has_argmax: bool = True, seed: int = 0) -> None:
    """Write an MLP ``float32[1, sizes[0]]`` → argmax ``int64[1]``, or logits ``float32[1, sizes[-1]]``."""
    random = np.random.default_rng(seed)
    nodes, weights, current = [], [], "x"
    for layer, (num_in, num_out) in enumerate(pairwise(sizes)):
        weight = random.normal(0, 1 / np.sqrt(num_in), (num_in, num_out)).astype(np.float32)
        bias = random.normal(0, 0.1, num_out).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"W{layer}"), numpy_helper.from_array(bias, f"B{layer}")]
        nodes.append(helper.make_node("MatMul", [current, f"W{layer}"], [f"product{layer}"]))
        nodes.append(helper.make_node("Add", [f"product{layer}", f"B{layer}"], [f"sum{layer}"]))
        current = f"sum{layer}"
        if layer < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [current], [f"hidden{layer}"]))
            current = f"hidden{layer}"
    if has_argmax:
        nodes.append(helper.make_node("ArgMax", [current], ["y"], axis=1, keepdims=0))
        output = helper.make_tensor_value_info("y", TensorProto.INT64, [1])
    else:
        nodes.append(helper.make_node("Identity", [current], ["y"]))
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, sizes[-1]])
    inputs = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, sizes[0]])
    _save(path, helper.make_graph(nodes, "head", [inputs], [output], weights))


def write_integer_head(path: Path, num_in: int, num_out: int, seed: int = 0) -> None:
    """Write a head over ``int64[1, num_in]``: weights times votes, argmax ``int64[1]``."""
    weight: npt.NDArray[np.int64] = np.random.default_rng(seed).integers(-4, 5, (num_in, num_out))
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["sums"]),
        helper.make_node("ArgMax", ["sums"], ["y"], axis=1, keepdims=0),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [1])
    inputs = helper.make_tensor_value_info("x", TensorProto.INT64, [1, num_in])
    weights = [numpy_helper.from_array(weight, "W")]
    _save(path, helper.make_graph(nodes, "votes", [inputs], [output], weights))


def _save(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
