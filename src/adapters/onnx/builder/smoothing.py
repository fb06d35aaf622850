"""Moves the outliers of activations into the weights, without changing what the model computes.

SmoothQuant (Xiao et al. 2023): ``x @ w.T == (x / s) @ (w * s).T`` for any positive scale ``s`` of each
input. The division folds into whatever made ``x``: the RMSNorm before q, k and v and before gate and up; the
rows of v for o (attention mixes positions, not channels; query heads of a group share their v); the rows of
up for down.

A few of down's channels reach a thousand times the others, more than weights take: little of it is moved
there, and nothing for the head, where it costs more than it gains. Both quantise each row's inputs in blocks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.onnx.builder.architecture import DecoderConfig, Floats
from adapters.onnx.builder.source import ModelSource

ALPHA = 0.7
"""Share of an input's range that moves into the weights."""
ALPHA_OF_DOWN = 0.3
LOWEST = 1e-5
"""Of a maximum: a channel that was never seen active."""


@dataclass(frozen=True, slots=True)
class SmoothedInput:
    """How to smooth one input of matrices."""

    divisors: Floats
    """``float32[channels]``."""
    maximum: float
    """The largest magnitude that was seen once divided."""


@dataclass(frozen=True, slots=True)
class LayerSmoothing:
    """How to smooth one layer's inputs, and how large they get."""

    attention_input: SmoothedInput
    """Of q, k and v: ``hidden`` channels."""
    attention_output: SmoothedInput
    """Of o; its divisors are ``kv_heads * head_dim``, as v has rows."""
    mlp_input: SmoothedInput
    """Of gate and up: ``hidden`` channels."""
    mlp_output_divisors: Floats
    """Of down: ``float32[intermediate]``; how large its inputs get is found row by row as they come."""


Smoothing = tuple[LayerSmoothing, ...]
"""How to smooth each layer of a model."""


def scales(activation_maxima: Floats, weight: Floats, alpha: float) -> Floats:
    """Return what to divide a matrix's inputs by.

    Args:
        activation_maxima: ``float32[in]``, the largest magnitude seen of each.
        weight: ``float32[out, in]``.
        alpha: the share that moves into the weights.
    """
    activations = np.maximum(activation_maxima, LOWEST)
    weights = np.maximum(np.abs(weight).max(axis=0), LOWEST)
    return np.asarray(activations**alpha / weights ** (1 - alpha), np.float32)


def shared_by_group(config: DecoderConfig, activation_maxima: Floats) -> Floats:
    """Return for each channel of v the maximum over the query heads that read it.

    ``activation_maxima`` is ``float32[heads * head_dim]``.
    """
    heads = activation_maxima.reshape(config.num_kv_heads, -1, config.head_dim)
    return np.asarray(heads.max(axis=1).reshape(-1))


def repeated_for_group(config: DecoderConfig, channels: Floats) -> Floats:
    """Return v's channels as the query heads read them: ``float32[heads * head_dim]``."""
    heads = channels.reshape(config.num_kv_heads, 1, config.head_dim)
    return np.repeat(heads, config.num_heads // config.num_kv_heads, axis=1).reshape(-1)


class SmoothedSource:
    """A checkpoint with the smoothing of its layers folded into their weights."""

    def __init__(self, source: ModelSource, smoothing: Smoothing) -> None:
        self._source = source
        self._smoothing = smoothing

    @property
    def config(self) -> DecoderConfig:
        return self._source.config

    def weight(self, name: str, layer: int | None = None) -> Floats:
        weight = self._source.weight(name, layer)
        if layer is None:
            return weight
        smoothing = self._smoothing[layer]
        attention_output = repeated_for_group(self.config, smoothing.attention_output.divisors)
        of_inputs = {
            **dict.fromkeys(("q", "k", "v"), smoothing.attention_input.divisors),
            "o": attention_output,
            **dict.fromkeys(("gate", "up"), smoothing.mlp_input.divisors),
            "down": smoothing.mlp_output_divisors,
        }
        of_outputs = {
            "attention_norm": smoothing.attention_input.divisors,
            **dict.fromkeys(("v", "v_bias"), smoothing.attention_output.divisors),
            "mlp_norm": smoothing.mlp_input.divisors,
            "up": smoothing.mlp_output_divisors,
        }
        if name in of_inputs:
            weight = weight * of_inputs[name]
        if name in of_outputs:
            weight = (weight.T / of_outputs[name]).T
        return weight

    def write_tokenizer(self, folder: Path) -> None:
        self._source.write_tokenizer(folder)
