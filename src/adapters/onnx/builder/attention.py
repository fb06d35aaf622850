"""Attention over the KV cache: of a prompt, or of one token of each row.

A pass is one prompt, ``input_ids: [1, tokens]``, or one token of each row, ``[rows, 1]``: ONNX Runtime's
kernel takes several tokens of one slot, or one of each of several. What else a pass can be is put together
from such kernels in graphs of their own (``beside_form``, ``verify_form``).
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.architecture import DecoderConfig
from adapters.onnx.builder.graph import MICROSOFT, GraphWriter
from adapters.onnx.builder.rope import cos_sin_caches

OPERATOR = "GroupQueryAttention"
PAST_KEY, PAST_VALUE = "past_key_values.%d.key", "past_key_values.%d.value"
PRESENT_KEY, PRESENT_VALUE = "present.%d.key", "present.%d.value"
LENGTHS = "seqlens_k"
"""``int32[rows]``: the last position of each row."""
TOTAL_LENGTH = "total_sequence_length"
"""``int32``: the tokens of the longest row."""

SCALE_EXPONENT = -0.25
"""Of ``head_dim``: queries and keys are scaled as they are rotated, and their product by both. Where it has
nothing to scale, ONNX Runtime multiplies a single query in half the time (MLAS's kernel for one row)."""


def is_cached(name: str) -> bool:
    """Tell whether an input or output holds keys or values."""
    return name.startswith(("past_key_values.", "present."))


class Attention:
    """The attention of every layer.

    Args:
        config: the model's.
        writer: takes nodes and weights.
    """

    def __init__(self, config: DecoderConfig, writer: GraphWriter) -> None:
        self._config = config
        self._writer = writer
        scale = np.float32(config.head_dim**SCALE_EXPONENT)
        caches = zip(("cos_cache", "sin_cache"), cos_sin_caches(config), strict=True)
        rope = [writer.weight(name, cache * scale) for name, cache in caches]
        self._inputs = [*self._lengths(), *rope]

    def add(self, layer: int, qkv: str) -> str:
        """Add a layer's attention on its packed queries, keys and values; returns the output."""
        config = self._config
        return self._writer.node(
            OPERATOR,
            [qkv, "", "", PAST_KEY % layer, PAST_VALUE % layer, *self._inputs],
            [f"layers.{layer}.attention.output", PRESENT_KEY % layer, PRESENT_VALUE % layer],
            domain=MICROSOFT,
            num_heads=config.num_heads,
            kv_num_heads=config.num_kv_heads,
            scale=1.0,
            local_window_size=config.sliding_window or -1,
            do_rotary=1,
            rotary_interleaved=0,
        )

    def signature(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """Return the inputs and outputs that attention adds to the graph's."""
        config = self._config
        inputs: list[onnx.ValueInfoProto] = []
        outputs: list[onnx.ValueInfoProto] = []
        for layer in range(config.num_layers):
            for values, length, names in (
                (inputs, "past_sequence", (PAST_KEY, PAST_VALUE)),
                (outputs, "total_sequence", (PRESENT_KEY, PRESENT_VALUE)),
            ):
                shape = ["batch", config.num_kv_heads, length, config.head_dim]
                values += [
                    helper.make_tensor_value_info(name % layer, TensorProto.FLOAT, shape) for name in names
                ]
        return inputs, outputs

    def _lengths(self) -> list[str]:
        writer = self._writer
        one = writer.constant("one", np.array([1], np.int64))
        total = writer.node("ReduceSum", ["attention_mask", one], ["mask_sum"], keepdims=0)
        last = writer.node("Sub", [total, one], ["mask_sum_minus_one"])
        lengths = writer.node("Cast", [last], [LENGTHS], to=TensorProto.INT32)
        shape = writer.node("Shape", ["attention_mask"], ["mask_shape"])
        index = writer.constant("sequence_axis", np.array(1, np.int64))
        length = writer.node("Gather", [shape, index], ["total_length"], axis=0)
        return [lengths, writer.node("Cast", [length], [TOTAL_LENGTH], to=TensorProto.INT32)]
