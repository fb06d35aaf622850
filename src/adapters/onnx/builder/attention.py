"""Attention over the KV cache: of a pass's rows, and of a chunk of a prompt that is read beside them.

A pass is one prompt, ``input_ids: [1, tokens]``, or one token of each row, ``[rows, 1]``. Where the graph
takes chunks, a pass can be both, so that both take the weights once: ``[1, tokens + rows]``, the chunk's
tokens first, with the ``attention_mask`` of the rows; the chunk's slot has inputs and outputs of its own.
Only attention tells the two apart: its kernel takes several tokens of one slot, or one of each of several.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.architecture import DecoderConfig
from adapters.onnx.builder.graph import MICROSOFT, GraphWriter
from adapters.onnx.builder.rope import cos_sin_caches

PAST_KEY, PAST_VALUE = "past_key_values.%d.key", "past_key_values.%d.value"
PRESENT_KEY, PRESENT_VALUE = "present.%d.key", "present.%d.value"

CHUNK_SPLIT = "chunk_split"
"""``int64[2]``: the tokens of the chunk, and the rows behind it; not fed: there is no chunk."""
CHUNK_TOTAL = "chunk_total"
"""``int64[1]``: the tokens in the chunk's slot once it is read."""
CHUNK_PAST_KEY, CHUNK_PAST_VALUE = "chunk_past.%d.key", "chunk_past.%d.value"
CHUNK_PRESENT_KEY, CHUNK_PRESENT_VALUE = "chunk_present.%d.key", "chunk_present.%d.value"

ROPE = "cos_cache", "sin_cache"
SCALE_EXPONENT = -0.25
"""Of ``head_dim``: queries and keys are scaled as they are rotated, and their product by both. Where it has
nothing to scale, ONNX Runtime multiplies a single query in half the time (MLAS's kernel for one row)."""
HAS_CHUNK = "has_chunk"
AS_ROWS = "as_rows"
"""The shape of rows: a batch of one token each."""
IN_LINE = "in_line"
"""The shape of rows behind a chunk: tokens of one batch."""


class Attention:
    """The attention of every layer.

    Args:
        config: the model's.
        writer: takes nodes and weights.
        takes_chunks: whether a pass may read a chunk beside rows.
    """

    def __init__(self, config: DecoderConfig, writer: GraphWriter, *, takes_chunks: bool) -> None:
        self._config = config
        self._writer = writer
        self._takes_chunks = takes_chunks
        scale = np.float32(config.head_dim**SCALE_EXPONENT)
        caches = zip(ROPE, cos_sin_caches(config), strict=True)
        rope = [writer.weight(name, cache * scale) for name, cache in caches]
        self._of_rows = [*self._lengths_of_rows(), *rope]
        self._of_chunk = [*self._lengths_of_chunk(), *rope] if takes_chunks else []

    def add(self, layer: int, qkv: str) -> str:
        """Add a layer's attention on its packed queries, keys and values; returns the output."""
        output = f"layers.{layer}.attention.output"
        past, present = [PAST_KEY % layer, PAST_VALUE % layer], [PRESENT_KEY % layer, PRESENT_VALUE % layer]
        if not self._takes_chunks:
            return self._grouped(output, qkv, past, present, self._of_rows)[0]
        chunk_past = [CHUNK_PAST_KEY % layer, CHUNK_PAST_VALUE % layer]
        chunk_present = [CHUNK_PRESENT_KEY % layer, CHUNK_PRESENT_VALUE % layer]
        for name in chunk_past:
            nothing = np.zeros((1, self._config.num_kv_heads, 0, self._config.head_dim), np.float32)
            self._writer.constant(name, nothing)

        def both() -> list[str]:
            return self._chunk_and_rows(output, qkv, past, chunk_past)

        def rows() -> list[str]:
            given = self._grouped_apart(f"{output}.alone", qkv, past, self._of_rows)
            return [*given, *(self._writer.node("Identity", [kept], [f"{kept}.kept"]) for kept in chunk_past)]

        return self._writer.choice(HAS_CHUNK, [output, *present, *chunk_present], both, rows)

    def signature(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """Return the inputs and outputs that attention adds to the graph's."""
        config = self._config
        inputs: list[onnx.ValueInfoProto] = []
        outputs: list[onnx.ValueInfoProto] = []
        kept: list[tuple[list[onnx.ValueInfoProto], str | int, str, tuple[str, str]]] = [
            (inputs, "batch", "past_sequence", (PAST_KEY, PAST_VALUE)),
            (outputs, "batch", "total_sequence", (PRESENT_KEY, PRESENT_VALUE)),
        ]
        if self._takes_chunks:
            inputs.append(helper.make_tensor_value_info(CHUNK_SPLIT, TensorProto.INT64, [2]))
            inputs.append(helper.make_tensor_value_info(CHUNK_TOTAL, TensorProto.INT64, [1]))
            kept += [
                (inputs, 1, "chunk_past_sequence", (CHUNK_PAST_KEY, CHUNK_PAST_VALUE)),
                (outputs, 1, "chunk_total_sequence", (CHUNK_PRESENT_KEY, CHUNK_PRESENT_VALUE)),
            ]
        for layer in range(config.num_layers):
            for values, batch, length, names in kept:
                shape = [batch, config.num_kv_heads, length, config.head_dim]
                values += [
                    helper.make_tensor_value_info(name % layer, TensorProto.FLOAT, shape) for name in names
                ]
        return inputs, outputs

    def _chunk_and_rows(self, output: str, qkv: str, past: list[str], chunk_past: list[str]) -> list[str]:
        writer, chunk, rows = self._writer, f"{output}.chunk", f"{output}.rows"
        writer.node("Split", [qkv, CHUNK_SPLIT], [f"{chunk}.qkv", f"{rows}.in_line"], axis=1)
        writer.node("Reshape", [f"{rows}.in_line", AS_ROWS], [f"{rows}.qkv"])
        of_chunk = self._grouped_apart(chunk, f"{chunk}.qkv", chunk_past, self._of_chunk)
        of_rows = self._grouped_apart(rows, f"{rows}.qkv", past, self._of_rows)
        writer.node("Reshape", [rows, IN_LINE], [f"{rows}.out"])
        whole = writer.node("Concat", [chunk, f"{rows}.out"], [f"{output}.whole"], axis=1)
        return [whole, *of_rows[1:], *of_chunk[1:]]

    def _grouped_apart(self, name: str, qkv: str, past: list[str], inputs: list[str]) -> list[str]:
        return self._grouped(name, qkv, past, [f"{name}.key", f"{name}.value"], inputs)

    def _grouped(
        self, output: str, qkv: str, past: list[str], present: list[str], inputs: list[str]
    ) -> list[str]:
        config = self._config
        self._writer.node(
            "GroupQueryAttention",
            [qkv, "", "", *past, *inputs],
            [output, *present],
            domain=MICROSOFT,
            num_heads=config.num_heads,
            kv_num_heads=config.num_kv_heads,
            scale=1.0,
            local_window_size=config.sliding_window or -1,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return [output, *present]

    def _lengths_of_rows(self) -> list[str]:
        writer = self._writer
        one = writer.constant("one", np.array([1], np.int64))
        total = writer.node("ReduceSum", ["attention_mask", one], ["mask_sum"], keepdims=0)
        last = writer.node("Sub", [total, one], ["mask_sum_minus_one"])
        seqlens_k = writer.node("Cast", [last], ["seqlens_k"], to=TensorProto.INT32)
        shape = writer.node("Shape", ["attention_mask"], ["mask_shape"])
        index = writer.constant("sequence_axis", np.array(1, np.int64))
        length = writer.node("Gather", [shape, index], ["total_length"], axis=0)
        return [seqlens_k, writer.node("Cast", [length], ["total_sequence_length"], to=TensorProto.INT32)]

    def _lengths_of_chunk(self) -> list[str]:
        writer, config = self._writer, self._config
        split = writer.constant(CHUNK_SPLIT, np.array([0, 0], np.int64))
        total = writer.constant(CHUNK_TOTAL, np.array([1], np.int64))
        first = writer.constant("first", np.array(0, np.int64))
        num_tokens = writer.node("Gather", [split, first], ["chunk_tokens"], axis=0)
        writer.node("Greater", [num_tokens, first], [HAS_CHUNK])
        width = config.num_heads * config.head_dim
        packed_width = width + 2 * config.num_kv_heads * config.head_dim
        writer.constant(AS_ROWS, np.array([-1, 1, packed_width], np.int64))
        writer.constant(IN_LINE, np.array([1, -1, width], np.int64))
        last = writer.node("Sub", [total, "one"], ["chunk_total_minus_one"])
        seqlens_k = writer.node("Cast", [last], ["chunk_seqlens_k"], to=TensorProto.INT32)
        length = writer.node("Gather", [total, first], ["chunk_length"], axis=0)
        return [seqlens_k, writer.node("Cast", [length], ["chunk_total_length"], to=TensorProto.INT32)]
