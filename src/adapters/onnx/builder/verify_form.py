"""Several tokens of one slot, to verify guesses: each attends by itself, with the kernel of a decode step.

The kernel of several tokens rounds otherwise than that of one, and in a model of 8 bits the least difference
grows into another answer. ``input_ids: [1, tokens]``, as many as the form is wide. Each token has inputs and
outputs of its own for keys and values, to be bound to the same memory: it finds there what those before it
left, which is why one follows the other.
"""

import numpy as np
import onnx
from onnx import TensorProto

from adapters.onnx.builder.attention import LENGTHS, TOTAL_LENGTH, is_cached
from adapters.onnx.builder.derived_graph import Values, renamed
from adapters.onnx.builder.graph import Graph
from adapters.onnx.model_folder import VERIFIED_NAME

SIZES = "verify_sizes"
FIRST_POSITION = "verify_position"
"""``int64[1, 1]``: of the first token."""


class VerifyForm:
    """Attention of so many tokens, one after the other; an ``AttentionForm``.

    Args:
        num_tokens: of every pass.
    """

    def __init__(self, num_tokens: int) -> None:
        self._num_tokens = num_tokens

    def signature(self, inputs: Values, outputs: Values) -> tuple[Values, Values]:
        return self._of_tokens(inputs), self._of_tokens(outputs)

    def prepare(self, graph: Graph) -> None:
        graph.constant(SIZES, np.ones(self._num_tokens, np.int64))
        for token in range(self._num_tokens):
            behind = graph.constant(
                f"tokens_behind.{token}", np.array(self._num_tokens - 1 - token, np.int32)
            )
            for name in (LENGTHS, TOTAL_LENGTH):
                graph.node("Sub", [name, behind], [f"{name}.{token}"])
        shape = graph.constant("position_shape", np.array([1, 1], np.int64))
        position = graph.node("Cast", [f"{LENGTHS}.0"], ["verify_position_in_line"], to=TensorProto.INT64)
        graph.node("Reshape", [position, shape], [FIRST_POSITION])

    def attend(self, graph: Graph, attention: onnx.NodeProto) -> None:
        qkv, past, rope = attention.input[0], attention.input[3:5], attention.input[7:]
        output, *present = attention.output
        tokens = [f"{output}.{token}" for token in range(self._num_tokens)]
        graph.node("Split", [qkv, SIZES], [f"{token}.qkv" for token in tokens], axis=1)
        position = FIRST_POSITION
        for token, name in enumerate(tokens):
            kept = [VERIFIED_NAME % (each, token) for each in present]
            before = [VERIFIED_NAME % (each, token) for each in past]
            lengths = [f"{LENGTHS}.{token}", f"{TOTAL_LENGTH}.{token}"]
            graph.like(attention, [f"{name}.qkv", "", "", *before, *lengths, *rope, position], [name, *kept])
            if token + 1 < self._num_tokens:
                # the next position is one on, by the number of rows: so the kernels run in this order. Were
                # that number written into the graph, ONNX Runtime would reckon ahead, and lose the order
                step = graph.node("Shape", [kept[0]], [f"{name}.step"], start=0, end=1)
                position = graph.node("Add", [position, step], [f"{name}.next_position"])
        graph.node("Concat", tokens, [output], axis=1)

    def _of_tokens(self, values: Values) -> list[onnx.ValueInfoProto]:
        return [
            renamed(value, VERIFIED_NAME % (value.name, token)) if is_cached(value.name) else value
            for value in values
            for token in range(self._num_tokens if is_cached(value.name) else 1)
        ]
