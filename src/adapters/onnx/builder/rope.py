"""Rotary position embeddings (Su et al. 2021): the cos and sin caches that the attention kernel reads."""

import math
from typing import Any

import numpy as np

from adapters.onnx.builder.architecture import DecoderConfig, Floats, RopeScaling
from domain.errors import ConfigurationError


def cos_sin_caches(config: DecoderConfig) -> tuple[Floats, Floats]:
    """Return cos and sin, each ``float32[context_length, head_dim / 2]``."""
    frequencies = _frequencies(config.rope_theta, config.head_dim)
    if config.rope_scaling is not None:
        frequencies = frequencies / config.rope_scaling.factors
    angles = np.outer(np.arange(config.context_length, dtype=np.float64), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def scaling_from_hugging_face(parameters: dict[str, Any], theta: float, head_dim: int) -> RopeScaling | None:
    """Return the scaling that ``rope_scaling`` (or ``rope_parameters``) of a ``config.json`` asks for.

    Raises:
        ConfigurationError: it is of a kind that the builder does not know.
    """
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    match kind:
        case "default":
            return None
        case "linear":
            return linear_scaling(float(parameters["factor"]), head_dim)
        case "llama3":
            return _llama3_scaling(parameters, theta, head_dim)
        case _:
            raise ConfigurationError(
                f"rotary scaling of type {kind!r} is not known to the builder: "
                "use `llm-inference-service model export`",
            )


def linear_scaling(factor: float, head_dim: int) -> RopeScaling:
    """Return the scaling that divides every frequency by the same factor."""
    return RopeScaling(np.full(head_dim // 2, factor, np.float32))


def _llama3_scaling(parameters: dict[str, Any], theta: float, head_dim: int) -> RopeScaling:
    """Scale low frequencies only, with a smooth passage: as Llama 3.1 does (its ``apply_scaling``)."""
    factor = float(parameters["factor"])
    low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
    original_context = float(parameters["original_max_position_embeddings"])
    wavelengths = 2 * math.pi / _frequencies(theta, head_dim)
    smooth = np.clip((original_context / wavelengths - low) / (high - low), 0.0, 1.0)
    return RopeScaling((1 / ((1 - smooth) / factor + smooth)).astype(np.float32))


def _frequencies(theta: float, head_dim: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim))
