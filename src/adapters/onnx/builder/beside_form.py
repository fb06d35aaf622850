"""A chunk of a prompt, read in the pass that decodes rows, so that both take the weights once.

``input_ids: [1, tokens + rows]``, the chunk's tokens first, with the ``attention_mask`` of the rows; the
chunk's slot has inputs and outputs of its own.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.attention import is_cached
from adapters.onnx.builder.derived_graph import Values, renamed
from adapters.onnx.builder.graph import Graph
from adapters.onnx.model_folder import CHUNK_NAME, CHUNK_SPLIT, CHUNK_TOTAL

CHUNK_LENGTHS, CHUNK_TOTAL_LENGTH = "chunk_seqlens_k", "chunk_total_length"
AS_ROWS = "as_rows"
"""The shape of rows: a batch of one token each."""
IN_LINE = "in_line"
"""The shape of rows behind a chunk: tokens of one batch."""

AS_IT_IS = 0
"""Of a shape: the input's own length."""


class BesideForm:
    """Attention of a chunk and of rows, each in its own slots; an ``AttentionForm``."""

    def signature(self, inputs: Values, outputs: Values) -> tuple[Values, Values]:
        fed = [
            helper.make_tensor_value_info(CHUNK_SPLIT, TensorProto.INT64, [2]),
            helper.make_tensor_value_info(CHUNK_TOTAL, TensorProto.INT64, [1]),
        ]
        return [*inputs, *fed, *_of_chunk(inputs)], [*outputs, *_of_chunk(outputs)]

    def prepare(self, graph: Graph) -> None:
        one = graph.constant("chunk_one", np.array([1], np.int64))
        first = graph.constant("chunk_first", np.array(0, np.int64))
        last = graph.node("Sub", [CHUNK_TOTAL, one], ["chunk_total_minus_one"])
        graph.node("Cast", [last], [CHUNK_LENGTHS], to=TensorProto.INT32)
        total = graph.node("Gather", [CHUNK_TOTAL, first], ["chunk_total_scalar"], axis=0)
        graph.node("Cast", [total], [CHUNK_TOTAL_LENGTH], to=TensorProto.INT32)
        graph.constant(AS_ROWS, np.array([-1, 1, AS_IT_IS], np.int64))
        graph.constant(IN_LINE, np.array([1, -1, AS_IT_IS], np.int64))

    def attend(self, graph: Graph, attention: onnx.NodeProto) -> None:
        qkv, past, rope = attention.input[0], attention.input[3:5], attention.input[7:]
        output, *present = attention.output
        chunk, rows = f"{output}.chunk", f"{output}.rows"
        graph.node("Split", [qkv, CHUNK_SPLIT], [f"{chunk}.qkv", f"{rows}.in_line"], axis=1)
        graph.node("Reshape", [f"{rows}.in_line", AS_ROWS], [f"{rows}.qkv"])
        chunk_past, chunk_present = ([CHUNK_NAME % name for name in names] for names in (past, present))
        of_chunk = [f"{chunk}.qkv", "", "", *chunk_past, CHUNK_LENGTHS, CHUNK_TOTAL_LENGTH, *rope]
        graph.like(attention, of_chunk, [chunk, *chunk_present])
        graph.like(attention, [f"{rows}.qkv", *attention.input[1:]], [rows, *present])
        graph.node("Reshape", [rows, IN_LINE], [f"{rows}.out"])
        graph.node("Concat", [chunk, f"{rows}.out"], [output], axis=1)


def _of_chunk(values: Values) -> list[onnx.ValueInfoProto]:
    """Return the chunk's counterparts of the rows' keys and values."""
    counterparts = []
    for value in values:
        if is_cached(value.name):
            counterpart = renamed(value, CHUNK_NAME % value.name)
            rows, _, length, _ = counterpart.type.tensor_type.shape.dim
            rows.dim_value = 1
            length.dim_param = f"chunk_{length.dim_param}"
            counterparts.append(counterpart)
    return counterparts
