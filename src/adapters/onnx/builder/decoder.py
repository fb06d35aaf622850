"""The decoder graph, as ONNX Runtime GenAI lays it out.

One layer::

    hidden ─ norm ─ qkv ─ GroupQueryAttention ─ o ─┐
      └──────────────────── skip + norm ───────────┴─ gate, up ─ silu(gate) * up ─ down ─► next layer's skip
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.graph import MICROSOFT, GraphWriter
from adapters.onnx.builder.options import BuildOptions
from adapters.onnx.builder.report import BuildReporter
from adapters.onnx.builder.rope import cos_sin_caches
from adapters.onnx.builder.source import ModelSource

PAST_KEY, PAST_VALUE = "past_key_values.%d.key", "past_key_values.%d.value"
PRESENT_KEY, PRESENT_VALUE = "present.%d.key", "present.%d.value"
HIDDEN_STATES = "hidden_states"
"""Of the last layer, normed: what the head reads."""


def write_decoder(
    source: ModelSource, model_file: Path, data_file: BinaryIO, options: BuildOptions, report: BuildReporter
) -> None:
    """Write a model's graph and weights.

    Args:
        source: the checkpoint.
        model_file: to be written; refers to the data file by its name.
        data_file: a file beside it, opened for writing.
        options: how to store the weights.
        report: advanced once a layer, and once each for embedding and head.
    """
    writer = GraphWriter(data_file, Path(data_file.name).name)
    decoder = _Decoder(source, writer, options)
    hidden, skip = decoder.embedding(), None
    report.advance()
    for layer in range(source.config.num_layers):
        hidden, skip = decoder.layer(layer, hidden, skip)
        report.advance()
    decoder.head(hidden, skip)
    report.advance()
    writer.save(model_file, source.config.architecture.name, *decoder.signature())


class _Decoder:
    def __init__(self, source: ModelSource, writer: GraphWriter, options: BuildOptions) -> None:
        self._source = source
        self._config = source.config
        self._writer = writer
        self._options = options
        self._attention_inputs = [*self._lengths(), *self._rope()]

    def embedding(self) -> str:
        embedding = self._source.weight("embedding")
        return self._writer.gather("embedding", "input_ids", embedding, self._options.embedding_precision)

    def layer(self, layer: int, mlp: str, skip: str | None) -> tuple[str, str]:
        """Add a layer on what the layer before it left; returns its own two halves of the sum."""
        hidden, skip = self._norm(f"layers.{layer}.attention_norm", "attention_norm", layer, mlp, skip)
        attention = self._attention(layer, hidden)
        hidden, skip = self._norm(f"layers.{layer}.mlp_norm", "mlp_norm", layer, attention, skip)
        return self._mlp(layer, hidden), skip

    def head(self, mlp: str, skip: str | None) -> None:
        hidden, _ = self._norm("final_norm", "final_norm", None, mlp, skip)
        if self._options.has_hidden_states:
            self._writer.node("Identity", [hidden], [HIDDEN_STATES])
        weight = self._source.weight("embedding" if self._config.is_head_tied else "head")
        output = self._writer.matmul("head", hidden, weight, self._options.precision_of_head)
        self._writer.node("Identity", [output], ["logits"])

    def signature(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        config = self._config
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total_sequence"]),
        ]
        outputs = [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", "sequence", config.vocab_size]
            ),
        ]
        if self._options.has_hidden_states:
            shape = ["batch", "sequence", config.hidden_size]
            outputs.append(helper.make_tensor_value_info(HIDDEN_STATES, TensorProto.FLOAT, shape))
        for layer in range(config.num_layers):
            for values, names, length in (
                (inputs, (PAST_KEY, PAST_VALUE), "past_sequence"),
                (outputs, (PRESENT_KEY, PRESENT_VALUE), "total_sequence"),
            ):
                shape = ["batch", config.num_kv_heads, length, config.head_dim]
                values += [helper.make_tensor_value_info(n % layer, TensorProto.FLOAT, shape) for n in names]
        return inputs, outputs

    def _lengths(self) -> list[str]:
        writer = self._writer
        one = writer.constant("one", np.array([1], np.int64))
        total = writer.node("ReduceSum", ["attention_mask", one], ["mask_sum"], keepdims=0)
        last = writer.node("Sub", [total, one], ["mask_sum_minus_one"])
        seqlens_k = writer.node("Cast", [last], ["seqlens_k"], to=TensorProto.INT32)
        shape = writer.node("Shape", ["attention_mask"], ["mask_shape"])
        index = writer.constant("sequence_axis", np.array(1, np.int64))
        length = writer.node("Gather", [shape, index], ["total_length"], axis=0)
        return [seqlens_k, writer.node("Cast", [length], ["total_sequence_length"], to=TensorProto.INT32)]

    def _rope(self) -> list[str]:
        cos, sin = cos_sin_caches(self._config)
        return [self._writer.weight("cos_cache", cos), self._writer.weight("sin_cache", sin)]

    def _norm(
        self, name: str, weight_name: str, layer: int | None, source: str, skip: str | None
    ) -> tuple[str, str]:
        """Add ``rms_norm(source + skip)``; returns it and the sum."""
        weight = self._writer.weight(f"{name}.weight", self._source.weight(weight_name, layer))
        epsilon = self._config.norm_epsilon
        output = f"{name}.output"
        if skip is None:
            self._writer.node(
                "SimplifiedLayerNormalization",
                [source, weight],
                [output],
                axis=-1,
                epsilon=epsilon,
                stash_type=1,
            )
            return output, source
        self._writer.node(
            "SkipSimplifiedLayerNormalization",
            [source, skip, weight],
            [output, "", "", f"{name}.sum"],
            domain=MICROSOFT,
            epsilon=epsilon,
        )
        return output, f"{name}.sum"

    def _attention(self, layer: int, hidden: str) -> str:
        config, writer, name = self._config, self._writer, f"layers.{layer}"
        packed = np.concatenate([self._source.weight(part, layer) for part in ("q", "k", "v")])
        qkv = writer.matmul(f"{name}.qkv", hidden, packed, self._options.precision)
        if config.architecture.has_qkv_bias:
            bias = np.concatenate([self._source.weight(f"{part}_bias", layer) for part in ("q", "k", "v")])
            qkv = writer.node("Add", [qkv, writer.weight(f"{name}.qkv.bias", bias)], [f"{name}.qkv.biased"])
        attention = writer.node(
            "GroupQueryAttention",
            [qkv, "", "", PAST_KEY % layer, PAST_VALUE % layer, *self._attention_inputs],
            [f"{name}.attention.output", PRESENT_KEY % layer, PRESENT_VALUE % layer],
            domain=MICROSOFT,
            num_heads=config.num_heads,
            kv_num_heads=config.num_kv_heads,
            scale=config.head_dim**-0.5,
            local_window_size=config.sliding_window or -1,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return writer.matmul(f"{name}.o", attention, self._source.weight("o", layer), self._options.precision)

    def _mlp(self, layer: int, hidden: str) -> str:
        writer, name, precision = self._writer, f"layers.{layer}", self._options.precision
        gate = writer.matmul(f"{name}.gate", hidden, self._source.weight("gate", layer), precision)
        up = writer.matmul(f"{name}.up", hidden, self._source.weight("up", layer), precision)
        sigmoid = writer.node("Sigmoid", [gate], [f"{name}.gate.sigmoid"])
        silu = writer.node("Mul", [gate, sigmoid], [f"{name}.gate.silu"])
        product = writer.node("Mul", [silu, up], [f"{name}.mlp.product"])
        return writer.matmul(f"{name}.down", product, self._source.weight("down", layer), precision)
