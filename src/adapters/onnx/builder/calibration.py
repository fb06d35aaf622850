"""Finds a model's smoothing: runs it once on a short text, layer by layer, and notes how large inputs get.

Each layer is a graph of its own at fp32, written to disk, run by ONNX Runtime and thrown away, so that memory
and disk never hold more than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from adapters.onnx.builder.architecture import DecoderConfig, Floats
from adapters.onnx.builder.attention import PAST_KEY, PAST_VALUE, PRESENT_KEY, PRESENT_VALUE
from adapters.onnx.builder.decoder import Decoder
from adapters.onnx.builder.graph import GraphWriter
from adapters.onnx.builder.options import BuildOptions, Precision
from adapters.onnx.builder.report import BuildReporter
from adapters.onnx.builder.smoothing import (
    ALPHA,
    ALPHA_OF_DOWN,
    LayerSmoothing,
    SmoothedInput,
    Smoothing,
    repeated_for_group,
    scales,
    shared_by_group,
)
from adapters.onnx.builder.source import ModelSource
from adapters.onnx.tokenizer import Tokenizer

TEXT_FILE = Path(__file__).parent / "calibration_text.txt"
SEQUENCE_TOKENS = 256
"""The text is cut into sequences of this many: the first token of each has activations of its own kind."""


@dataclass(frozen=True, slots=True)
class _LayerRun:
    """What a layer made of its input, all ``float32[sequences, tokens, …]``."""

    attention_input: Floats
    attention_output: Floats
    mlp_input: Floats
    mlp_output: Floats
    """What down reads."""
    output: Floats


def calibrate(source: ModelSource, folder: Path, report: BuildReporter) -> Smoothing:
    """Return a checkpoint's smoothing.

    Args:
        source: the checkpoint.
        folder: has its tokenizer; the layers' files come and go here.
        report: advanced once a layer.

    Raises:
        ConfigurationError: a weight cannot be read.
    """
    config = source.config
    hidden = source.weight("embedding")[_token_ids(Tokenizer(folder), config)]
    layers = []
    for layer in range(config.num_layers):
        run = _run_layer(source, layer, hidden, folder)
        layers.append(_layer_smoothing(source, layer, run))
        hidden = run.output
        report.advance()
    return tuple(layers)


def _token_ids(
    tokenizer: Tokenizer, config: DecoderConfig
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    token_ids = np.array(tokenizer.encode(TEXT_FILE.read_text(encoding="utf-8")), np.int64)
    length = min(SEQUENCE_TOKENS, config.context_length, len(token_ids))
    num_sequences = len(token_ids) // length
    return token_ids[: num_sequences * length].reshape(num_sequences, length)


def _run_layer(source: ModelSource, layer: int, hidden: Floats, folder: Path) -> _LayerRun:
    model_file, data_path = folder / "layer.onnx", folder / "layer.onnx.data"
    try:
        with data_path.open("wb") as data_file:
            names = _write_layer(source, layer, model_file, GraphWriter(data_file, data_path.name))
        session = ort.InferenceSession(str(model_file), providers=["CPUExecutionProvider"])
        num_sequences, length, _ = hidden.shape
        no_past = np.zeros((num_sequences, source.config.num_kv_heads, 0, source.config.head_dim), np.float32)
        fed = {
            "hidden": hidden,
            "attention_mask": np.ones((num_sequences, length), np.int64),
            PAST_KEY % layer: no_past,
            PAST_VALUE % layer: no_past,
        }
        attention_input, attention_output, mlp_input, mlp_output, mlp, skip = session.run(names, fed)
    finally:
        model_file.unlink(missing_ok=True)
        data_path.unlink(missing_ok=True)
    return _LayerRun(attention_input, attention_output, mlp_input, mlp_output, mlp + skip)


def _write_layer(source: ModelSource, layer: int, model_file: Path, writer: GraphWriter) -> list[str]:
    """Write one layer's graph; returns the outputs to fetch."""
    config = source.config
    decoder = Decoder(source, writer, BuildOptions(Precision.FP32))
    mlp, skip = decoder.layer(layer, "hidden", None)
    name = f"layers.{layer}"
    fetched = [
        f"{name}.attention_norm.output",
        f"{name}.attention.output",
        f"{name}.mlp_norm.output",
        f"{name}.mlp.product",
        mlp,
        skip,
    ]

    def floats(names: list[str], shape: Sequence[int | str] | None) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names]

    cache: list[int | str] = ["sequences", config.num_kv_heads, "tokens", config.head_dim]
    no_cache: list[int | str] = ["sequences", config.num_kv_heads, 0, config.head_dim]
    inputs = [
        *floats(["hidden"], ["sequences", "tokens", config.hidden_size]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["sequences", "tokens"]),
        *floats([PAST_KEY % layer, PAST_VALUE % layer], no_cache),
    ]
    outputs = [*floats(fetched, None), *floats([PRESENT_KEY % layer, PRESENT_VALUE % layer], cache)]
    writer.save(model_file, name, inputs, outputs)
    return fetched


def _layer_smoothing(source: ModelSource, layer: int, run: _LayerRun) -> LayerSmoothing:
    config = source.config
    qkv = np.concatenate([source.weight(part, layer) for part in ("q", "k", "v")])
    gate_up = np.concatenate([source.weight(part, layer) for part in ("gate", "up")])
    o_maxima = np.abs(source.weight("o", layer)).max(axis=0)
    of_v = scales(
        shared_by_group(config, _maxima(run.attention_output)),
        shared_by_group(config, o_maxima)[np.newaxis],
        ALPHA,
    )
    return LayerSmoothing(
        attention_input=_smoothed(run.attention_input, qkv),
        attention_output=SmoothedInput(
            of_v, _maximum(run.attention_output / repeated_for_group(config, of_v))
        ),
        mlp_input=_smoothed(run.mlp_input, gate_up),
        mlp_output_divisors=scales(_maxima(run.mlp_output), source.weight("down", layer), ALPHA_OF_DOWN),
    )


def _smoothed(activations: Floats, weight: Floats) -> SmoothedInput:
    divisors = scales(_maxima(activations), weight, ALPHA)
    return SmoothedInput(divisors, _maximum(activations / divisors))


def _maxima(activations: Floats) -> Floats:
    """Return the largest magnitude of each channel, over every position."""
    return np.asarray(np.abs(activations).max(axis=(0, 1)))


def _maximum(activations: Floats) -> float:
    """Return the largest magnitude."""
    return float(np.abs(activations).max())
