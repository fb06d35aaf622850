"""Arrays that stay bound from one pass to the next are read and written anew in each."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from adapters.onnx.loaded_graph import Binding, LoadedGraph
from adapters.onnx.pass_arrays import PassArrays
from adapters.onnx.providers import ProviderChoice

VOCAB_SIZE = 6


@pytest.fixture
def counting(tmp_path: Path) -> Binding:
    """Make a graph whose logits are the token's id and, added to it, the length of the mask."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["attention_mask"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["length"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["ids", "length"], ["total"]),
            helper.make_node("Expand", ["total", "shape"], ["logits"]),
        ],
        "counting",
        [
            value("input_ids", TensorProto.INT64, ["rows", 1]),
            value("attention_mask", TensorProto.INT64, [1, "tokens"]),
        ],
        [value("logits", TensorProto.FLOAT, ["rows", VOCAB_SIZE])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [1, VOCAB_SIZE])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "counting.onnx")
    return LoadedGraph(tmp_path / "counting.onnx", ProviderChoice.CPU, 1).binding("logits")


def test_what_was_fed_before_is_read_again_and_the_result_is_written_over(counting: Binding) -> None:
    arrays = PassArrays(num_rows=2, max_length=8, vocab_size=VOCAB_SIZE)

    results = []
    for tokens, length in (([1, 2], 3), ([4, 5], 4), ([4, 5], 8)):
        fed = {"input_ids": arrays.newest(np.array(tokens)), "attention_mask": arrays.mask(length)}
        result = counting.run(fed, arrays.logits(2))
        np.testing.assert_array_equal(result, np.tile([[tokens[0]], [tokens[1]]], VOCAB_SIZE) + length)
        results.append(result)

    assert results[0] is results[1] is results[2]


def test_results_of_other_shapes_and_in_memory_of_their_own_come_in_turn(counting: Binding) -> None:
    arrays = PassArrays(num_rows=2, max_length=8, vocab_size=VOCAB_SIZE)

    for tokens, has_memory in (([1, 2], True), ([3], True), ([4], False), ([5, 6], False), ([7, 8], True)):
        fed = {"input_ids": np.array([tokens]).T, "attention_mask": arrays.mask(2)}
        result = counting.run(fed, arrays.logits(len(tokens)) if has_memory else None)
        np.testing.assert_array_equal(result, np.tile(fed["input_ids"], VOCAB_SIZE) + 2)


def test_more_logits_than_there_is_memory_for_lie_elsewhere() -> None:
    arrays = PassArrays(num_rows=2, max_length=8, vocab_size=VOCAB_SIZE)

    kept = [arrays.logits(1, num_logits) for num_logits in (2, 0)]

    assert [logits.shape for logits in kept if logits is not None] == [(1, 2, VOCAB_SIZE), (1, 0, VOCAB_SIZE)]
    assert arrays.logits(3, 1) is None
    assert PassArrays(num_rows=2, max_length=8, vocab_size=None).logits(1, 1) is None


class CopyingSession:
    """A session of a device that copies what is bound to it, as it is bound."""

    def __init__(self) -> None:
        self.num_bound = 0

    def io_binding(self) -> "CopyingSession":
        return self

    def bind_output(self, *_: object) -> None: ...

    def bind_cpu_input(self, *_: object) -> None:
        self.num_bound += 1

    def run_with_iobinding(self, *_: object) -> None: ...


@pytest.mark.parametrize(("reads_in_place", "num_bound"), [(True, 1), (False, 3)])
def test_a_device_that_copies_is_given_an_array_again(*, reads_in_place: bool, num_bound: int) -> None:
    session = CopyingSession()
    binding = Binding(session, "logits", reads_in_place=reads_in_place)
    token_ids = np.zeros((1, 1), np.int64)

    for _ in range(3):
        binding.run({"input_ids": token_ids}, np.zeros((1, 1), np.float32))

    assert session.num_bound == num_bound
