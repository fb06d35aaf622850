"""The table of architectures that the builder knows, and the shape of one model.

To add an architecture of the Llama family, add a row to ``ARCHITECTURES``; what it does differently in the
graph becomes a field of ``Architecture``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What distinguishes a decoder of the Llama family."""

    name: str
    """ONNX Runtime GenAI's name, and ``model_type`` of Hugging Face."""
    gguf_name: str | None
    """``general.architecture`` of GGUF; None where GGUF has no name of its own for it."""
    has_qkv_bias: bool = False
    is_rope_permuted_in_gguf: bool = False
    """GGUF stores the rows of q and k in the order of interleaved rotary embeddings."""


ARCHITECTURES = (
    Architecture("llama", "llama", is_rope_permuted_in_gguf=True),
    Architecture("mistral", None),
    Architecture("qwen2", "qwen2", has_qkv_bias=True),
)


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched for long contexts: each is divided by its factor."""

    factors: Floats
    """``float32[head_dim / 2]``."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of one model."""

    architecture: Architecture
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    context_length: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    is_head_tied: bool
    """The output layer is the embedding."""
    sliding_window: int | None
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int


WEIGHT_SHAPES = {
    "embedding": ("vocab", "hidden"),
    "head": ("vocab", "hidden"),
    "final_norm": ("hidden",),
    "attention_norm": ("hidden",),
    "mlp_norm": ("hidden",),
    "q": ("q", "hidden"),
    "k": ("kv", "hidden"),
    "v": ("kv", "hidden"),
    "o": ("hidden", "q"),
    "gate": ("intermediate", "hidden"),
    "up": ("intermediate", "hidden"),
    "down": ("hidden", "intermediate"),
    "q_bias": ("q",),
    "k_bias": ("kv",),
    "v_bias": ("kv",),
}
"""Our names of a decoder's weights, with their dimensions; matrices are ``[out, in]``."""


def weight_shape(config: DecoderConfig, weight: str) -> tuple[int, ...]:
    """Return the shape that a weight must have."""
    sizes = {
        "vocab": config.vocab_size,
        "hidden": config.hidden_size,
        "intermediate": config.intermediate_size,
        "q": config.num_heads * config.head_dim,
        "kv": config.num_kv_heads * config.head_dim,
    }
    return tuple(sizes[dimension] for dimension in WEIGHT_SHAPES[weight])
