"""The decoder graph, as ONNX Runtime GenAI lays it out.

One layer::

    hidden ─ norm ─ qkv ─ GroupQueryAttention ─ o ─┐
      └──────────────────── skip + norm ───────────┴─ gate, up ─ silu(gate) * up ─ down ─► next layer's skip

The head reads the positions from ``logits_start`` on: all of them where it is not fed, as runners that do not
know it expect.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper

from adapters.onnx.builder.architecture import Floats
from adapters.onnx.builder.attention import Attention
from adapters.onnx.builder.graph import MICROSOFT, GraphWriter
from adapters.onnx.builder.options import WIDE_BLOCK_SIZE, BuildOptions, Precision
from adapters.onnx.builder.quantization import BITS_OF_A_BYTE, has_byte_blocks
from adapters.onnx.builder.report import BuildReporter
from adapters.onnx.builder.smoothing import LayerSmoothing, SmoothedSource, Smoothing
from adapters.onnx.builder.source import ModelSource

HIDDEN_STATES = "hidden_states"
"""Of the last layer, normed: what the head reads."""
LOGITS_START = "logits_start"
"""``int64[1]``: from which of a pass's positions on there are logits; negative ones count from the end."""


def write_decoder(
    source: ModelSource,
    model_file: Path,
    data_file: BinaryIO,
    options: BuildOptions,
    report: BuildReporter,
    *,
    smoothing: Smoothing | None,
) -> None:
    """Write a model's graph and weights.

    Args:
        source: the checkpoint.
        model_file: to be written; refers to the data file by its name.
        data_file: a file beside it, opened for writing.
        options: how to store the weights.
        report: advanced once a layer, and once each for embedding and head.
        smoothing: of the activations, for ``int8_smooth``; changes nothing at ``fp32``.
    """
    writer = GraphWriter(data_file, Path(data_file.name).name)
    decoder = Decoder(source, writer, options, smoothing)
    hidden, skip = decoder.embedding(), None
    report.advance()
    for layer in range(source.config.num_layers):
        hidden, skip = decoder.layer(layer, hidden, skip)
        report.advance()
    decoder.head(hidden, skip)
    report.advance()
    writer.save(model_file, source.config.architecture.name, *decoder.signature())


class Decoder:
    """The parts of the graph, to be added in order.

    Args:
        source: the checkpoint.
        writer: takes nodes and weights.
        options: how to store the weights.
        smoothing: of the activations, if any.
    """

    def __init__(
        self,
        source: ModelSource,
        writer: GraphWriter,
        options: BuildOptions,
        smoothing: Smoothing | None = None,
    ) -> None:
        self._source = source if smoothing is None else SmoothedSource(source, smoothing)
        self._smoothing = smoothing
        self._config = source.config
        self._writer = writer
        self._options = options
        self._attention = Attention(source.config, writer)

    def embedding(self) -> str:
        """Add the look-up of the tokens; returns their embeddings."""
        embedding = self._source.weight("embedding")
        precision = self._options.embedding_precision
        if precision is None:
            is_small = self._options.precision is Precision.INT8_SMOOTH and has_byte_blocks(embedding)
            precision = Precision.INT8_BLOCK if is_small else Precision.FP32
        return self._writer.gather("embedding", "input_ids", embedding, precision)

    def layer(self, layer: int, mlp: str, skip: str | None) -> tuple[str, str]:
        """Add a layer on what the layer before it left; returns its own two halves of the sum."""
        hidden, skip = self._norm(f"layers.{layer}.attention_norm", "attention_norm", layer, mlp, skip)
        attention = self._attend(layer, hidden)
        hidden, skip = self._norm(f"layers.{layer}.mlp_norm", "mlp_norm", layer, attention, skip)
        return self._mlp(layer, hidden), skip

    def head(self, mlp: str, skip: str | None) -> None:
        """Add the outputs: hidden states and logits."""
        hidden, _ = self._norm("final_norm", "final_norm", None, mlp, skip)
        if self._options.has_hidden_states:
            self._writer.node("Identity", [hidden], [HIDDEN_STATES])
        start = self._writer.constant(LOGITS_START, np.array([0], np.int64))
        end = self._writer.constant("logits_end", np.array([np.iinfo(np.int64).max]))
        axis = self._writer.constant("logits_axis", np.array([1], np.int64))
        chosen = self._writer.node("Slice", [hidden, start, end, axis], ["head.input"])
        weight = self._source.weight("embedding" if self._config.is_head_tied else "head")
        output = self._block_matmul("head", chosen, weight, self._options.precision_of_head)
        self._writer.node("Identity", [output], ["logits"])

    def signature(self) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
        """Return the graph's inputs and outputs."""
        config = self._config
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total_sequence"]),
            helper.make_tensor_value_info(LOGITS_START, TensorProto.INT64, [1]),
        ]
        outputs = [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", "num_logits", config.vocab_size]
            ),
        ]
        if self._options.has_hidden_states:
            shape = ["batch", "sequence", config.hidden_size]
            outputs.append(helper.make_tensor_value_info(HIDDEN_STATES, TensorProto.FLOAT, shape))
        kept_in, kept_out = self._attention.signature()
        return inputs + kept_in, outputs + kept_out

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

    def _attend(self, layer: int, hidden: str) -> str:
        config, name = self._config, f"layers.{layer}"
        packed = np.concatenate([self._source.weight(part, layer) for part in ("q", "k", "v")])
        bias = None
        if config.architecture.has_qkv_bias:
            bias = np.concatenate([self._source.weight(f"{part}_bias", layer) for part in ("q", "k", "v")])
        smoothing = self._smoothing_of(layer)
        precision = self._options.precision
        maximum = None if smoothing is None else smoothing.attention_input.maximum
        qkv = self._matmul(f"{name}.qkv", hidden, packed, precision, maximum, bias=bias)
        attention = self._attention.add(layer, qkv)
        maximum = None if smoothing is None else smoothing.attention_output.maximum
        return self._matmul(f"{name}.o", attention, self._source.weight("o", layer), precision, maximum)

    def _mlp(self, layer: int, hidden: str) -> str:
        writer, name, precision = self._writer, f"layers.{layer}", self._options.precision
        smoothing = self._smoothing_of(layer)
        packed = np.concatenate([self._source.weight(part, layer) for part in ("gate", "up")])
        maximum = None if smoothing is None else smoothing.mlp_input.maximum
        both = self._matmul(f"{name}.gate_up", hidden, packed, precision, maximum)
        sizes = [self._config.intermediate_size] * 2
        gate, up = writer.split(both, [f"{name}.gate", f"{name}.up"], sizes)
        silu = writer.node("QuickGelu", [gate], [f"{name}.gate.silu"], domain=MICROSOFT, alpha=1.0)
        product = writer.node("Mul", [silu, up], [f"{name}.mlp.product"])
        return self._block_matmul(f"{name}.down", product, self._source.weight("down", layer), precision)

    def _matmul(
        self,
        name: str,
        source: str,
        weight: Floats,
        precision: Precision,
        maximum: float | None,
        *,
        bias: Floats | None = None,
    ) -> str:
        if precision is not Precision.INT8_SMOOTH:
            return self._writer.matmul(name, source, weight, precision, bias)
        if maximum is None:
            raise ValueError(f"{name}: {precision} needs a calibration")
        return self._writer.int8_matmul(name, source, weight, maximum, bias)

    def _block_matmul(self, name: str, source: str, weight: Floats, precision: Precision) -> str:
        """Add a product whose inputs differ too much for one scale."""
        if precision is not Precision.INT8_SMOOTH:
            return self._writer.matmul(name, source, weight, precision)
        return self._writer.block_matmul(name, source, weight, BITS_OF_A_BYTE, WIDE_BLOCK_SIZE)

    def _smoothing_of(self, layer: int) -> LayerSmoothing | None:
        return None if self._smoothing is None else self._smoothing[layer]
