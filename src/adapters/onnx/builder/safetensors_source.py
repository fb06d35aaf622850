"""Reads a Hugging Face checkpoint folder: ``config.json`` and safetensors, under the builder's names."""

import json
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from adapters.onnx.builder.architecture import (
    ARCHITECTURES,
    Architecture,
    DecoderConfig,
    Floats,
    weight_shape,
)
from adapters.onnx.builder.rope import scaling_from_hugging_face
from domain.errors import ConfigurationError

TENSOR_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "attention_norm": "model.layers.{layer}.input_layernorm.weight",
    "mlp_norm": "model.layers.{layer}.post_attention_layernorm.weight",
    "q": "model.layers.{layer}.self_attn.q_proj.weight",
    "k": "model.layers.{layer}.self_attn.k_proj.weight",
    "v": "model.layers.{layer}.self_attn.v_proj.weight",
    "o": "model.layers.{layer}.self_attn.o_proj.weight",
    "gate": "model.layers.{layer}.mlp.gate_proj.weight",
    "up": "model.layers.{layer}.mlp.up_proj.weight",
    "down": "model.layers.{layer}.mlp.down_proj.weight",
    "q_bias": "model.layers.{layer}.self_attn.q_proj.bias",
    "k_bias": "model.layers.{layer}.self_attn.k_proj.bias",
    "v_bias": "model.layers.{layer}.self_attn.v_proj.bias",
}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
UNSUPPORTED_FLAGS = ("attention_bias", "mlp_bias")
ACTIVATION = "silu"
FULL, SLIDING = "full_attention", "sliding_attention"
QWEN2_MAX_WINDOW_LAYERS = 28
"""Layers before the first with a sliding window, where ``config.json`` does not say (``Qwen2Config``)."""
DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


class SafetensorsSource:
    """A folder with ``config.json``, ``tokenizer.json`` and one or more safetensors files.

    Raises:
        ConfigurationError: it is not complete, or its architecture is not in the table.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors = _TensorFiles(folder)
        raw = _read_json(folder / "config.json")
        generation = folder / "generation_config.json"
        if generation.is_file():
            raw = {**raw, **{k: v for k, v in _read_json(generation).items() if k == "eos_token_id"}}
        try:
            self._config = _decoder_config(raw, self._tensors.names)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"config.json in {folder} is not complete: {error!r}") from error
        if not (folder / "tokenizer.json").is_file():
            raise ConfigurationError(f"{folder} has no tokenizer.json")

    @property
    def config(self) -> DecoderConfig:
        return self._config

    def weight(self, name: str, layer: int | None = None) -> Floats:
        tensor_name = TENSOR_NAMES[name].format(layer=layer)
        values = self._tensors.read(tensor_name)
        expected = weight_shape(self._config, name)
        if values.shape != expected:
            raise ConfigurationError(f"{tensor_name} has the shape {values.shape}, not {expected}")
        return values

    def write_tokenizer(self, folder: Path) -> None:
        for name in TOKENIZER_FILES:
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)


class _TensorFiles:
    """The tensors of a folder's safetensors files, read one at a time."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ConfigurationError(f"{folder} has no *.safetensors files")
        self._files: dict[str, Any] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="numpy")
            except (SafetensorError, OSError) as error:
                raise ConfigurationError(f"{file} is not a whole safetensors file: {error}") from error
            self._files.update(dict.fromkeys(opened.keys(), opened))

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._files)

    def read(self, name: str) -> Floats:
        if name not in self._files:
            raise ConfigurationError(f"the safetensors files have no tensor {name}")
        values = self._files[name].get_tensor(name)
        if values.dtype not in DTYPES:
            raise ConfigurationError(
                f"{name} is stored as {values.dtype}; the builder reads {', '.join(map(str, DTYPES))}"
            )
        return np.asarray(values, np.float32)


def _decoder_config(raw: dict[str, Any], tensor_names: frozenset[str]) -> DecoderConfig:
    for flag in UNSUPPORTED_FLAGS:
        if raw.get(flag):
            raise ConfigurationError(
                f"config.json sets {flag}, which the builder does not know: "
                "use `llm-inference-service model export`",
            )
    if raw.get("hidden_act", ACTIVATION) != ACTIVATION:
        raise ConfigurationError(
            f"config.json has another hidden_act than {ACTIVATION}, which the builder does not know: "
            "use `llm-inference-service model export`",
        )
    hidden_size, num_heads = int(raw["hidden_size"]), int(raw["num_attention_heads"])
    head_dim = int(raw.get("head_dim") or hidden_size // num_heads)
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    theta = float(rope.get("rope_theta") or raw.get("rope_theta") or 10_000.0)
    eos = raw["eos_token_id"]
    eos_token_ids = tuple(map(int, eos)) if isinstance(eos, list) else (int(eos),)
    pad = raw.get("pad_token_id")
    num_layers = int(raw["num_hidden_layers"])
    is_tied = bool(raw.get("tie_word_embeddings")) or TENSOR_NAMES["head"] not in tensor_names
    return DecoderConfig(
        architecture=_architecture(str(raw["model_type"])),
        num_layers=num_layers,
        hidden_size=hidden_size,
        intermediate_size=int(raw["intermediate_size"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
        head_dim=head_dim,
        vocab_size=int(raw["vocab_size"]),
        context_length=int(raw["max_position_embeddings"]),
        norm_epsilon=float(raw["rms_norm_eps"]),
        rope_theta=theta,
        rope_scaling=scaling_from_hugging_face(rope, theta, head_dim),
        is_head_tied=is_tied,
        sliding_window=_sliding_window(raw, num_layers),
        bos_token_id=None if raw.get("bos_token_id") is None else int(raw["bos_token_id"]),
        eos_token_ids=eos_token_ids,
        pad_token_id=eos_token_ids[0] if pad is None else int(pad),
    )


def _sliding_window(raw: dict[str, Any], num_layers: int) -> int | None:
    """Return how far back each layer attends; None: to the beginning."""
    window, is_qwen2 = raw.get("sliding_window"), raw["model_type"] == "qwen2"
    if window is None or (is_qwen2 and not raw.get("use_sliding_window")):
        return None
    num_full = int(raw.get("max_window_layers", QWEN2_MAX_WINDOW_LAYERS)) if is_qwen2 else 0
    kinds = raw.get("layer_types") or [FULL if layer < num_full else SLIDING for layer in range(num_layers)]
    if set(kinds) == {FULL}:
        return None
    if set(kinds) != {SLIDING}:
        raise ConfigurationError(
            "config.json has layers with a sliding window and layers without, which the builder does not "
            "know: use `llm-inference-service model export`",
        )
    return int(window)


def _architecture(model_type: str) -> Architecture:
    for architecture in ARCHITECTURES:
        if architecture.name == model_type:
            return architecture
    raise ConfigurationError(
        f"the model type {model_type!r} is not one the builder knows "
        f"({', '.join(architecture.name for architecture in ARCHITECTURES)}): "
        "use `llm-inference-service model export`",
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} is not a JSON object")
    return content
