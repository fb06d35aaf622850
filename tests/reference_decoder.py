"""An independent forward pass of the Llama family in numpy, written from the papers, not from our graph.

Attention: Vaswani et al. 2017; grouped-query: Ainslie et al. 2023; RMSNorm: Zhang & Sennrich 2019; SwiGLU:
Shazeer 2020; rotary embeddings: Su et al. 2021, on halves of a head as Hugging Face lays them out; Llama 3.1
scaling: Meta's ``apply_scaling``; sliding window: Mistral 7B (Jiang et al. 2023).
"""

import math

import numpy as np
import numpy.typing as npt

from tests.checkpoints import Floats, TinyModel

Doubles = npt.NDArray[np.float64]


def reference_logits(model: TinyModel, weights: dict[str, Floats], token_ids: list[int]) -> Doubles:
    """Return the logits ``float64[tokens, vocab]`` of a sequence."""
    cast = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = cast["model.embed_tokens.weight"][token_ids]
    for layer in range(model.num_layers):
        part = {
            name.removeprefix(f"model.layers.{layer}."): value
            for name, value in cast.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        hidden = hidden + _attention(model, part, _norm(model, hidden, part["input_layernorm.weight"]))
        hidden = hidden + _mlp(part, _norm(model, hidden, part["post_attention_layernorm.weight"]))
    head = cast.get("lm_head.weight", cast["model.embed_tokens.weight"])
    return _norm(model, hidden, cast["model.norm.weight"]) @ head.T


def _norm(model: TinyModel, values: Doubles, weight: Doubles) -> Doubles:
    mean_square = (values**2).mean(axis=-1, keepdims=True)
    return np.asarray(values / np.sqrt(mean_square + model.norm_epsilon) * weight)


def _mlp(part: dict[str, Doubles], values: Doubles) -> Doubles:
    gate = values @ part["mlp.gate_proj.weight"].T
    activated = gate / (1 + np.exp(-gate)) * (values @ part["mlp.up_proj.weight"].T)
    return np.asarray(activated @ part["mlp.down_proj.weight"].T)


def _attention(model: TinyModel, part: dict[str, Doubles], values: Doubles) -> Doubles:
    length = len(values)

    def heads(name: str, count: int) -> Doubles:
        projected = values @ part[f"self_attn.{name}.weight"].T + part.get(f"self_attn.{name}.bias", 0.0)
        return np.asarray(projected.reshape(length, count, model.head_dim).swapaxes(0, 1))

    q = _rotated(model, heads("q_proj", model.num_heads))
    group = model.num_heads // model.num_kv_heads
    k = np.repeat(_rotated(model, heads("k_proj", model.num_kv_heads)), group, axis=0)
    v = np.repeat(heads("v_proj", model.num_kv_heads), group, axis=0)
    scores = q @ k.swapaxes(1, 2) / math.sqrt(model.head_dim)
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    window = model.extra_config.get("sliding_window") or length
    scores = np.where((distance >= 0) & (distance < window), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = (weights @ v).swapaxes(0, 1).reshape(length, -1)
    return np.asarray(mixed @ part["self_attn.o_proj.weight"].T)


def _rotated(model: TinyModel, values: Doubles) -> Doubles:
    half = model.head_dim // 2
    frequencies = np.array([_frequency(model, index) for index in range(half)])
    angles = np.arange(values.shape[1])[:, None] * frequencies[None, :]
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = values[..., :half], values[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _frequency(model: TinyModel, index: int) -> float:
    frequency: float = model.rope_theta ** (-2 * index / model.head_dim)
    scaling = model.extra_config.get("rope_scaling")
    if not scaling:
        return frequency
    factor, original = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelength = 2 * math.pi / frequency
    if wavelength < original / high:
        return frequency
    if wavelength > original / low:
        return float(frequency / factor)
    smooth = (original / wavelength - low) / (high - low)
    return float((1 - smooth) * frequency / factor + smooth * frequency)
