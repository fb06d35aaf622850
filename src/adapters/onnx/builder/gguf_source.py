"""Reads a GGUF file: shape, weights and tokenizer, under the builder's names."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from adapters.onnx.builder.architecture import (
    ARCHITECTURES,
    Architecture,
    DecoderConfig,
    Floats,
    RopeScaling,
    weight_shape,
)
from adapters.onnx.builder.gguf_tokenizer import GGUFTokenizer, write_gguf_tokenizer
from adapters.onnx.builder.rope import linear_scaling
from domain.errors import ConfigurationError

TENSOR_NAMES = {
    "embedding": "token_embd.weight",
    "head": "output.weight",
    "final_norm": "output_norm.weight",
    "attention_norm": "blk.{layer}.attn_norm.weight",
    "mlp_norm": "blk.{layer}.ffn_norm.weight",
    "q": "blk.{layer}.attn_q.weight",
    "k": "blk.{layer}.attn_k.weight",
    "v": "blk.{layer}.attn_v.weight",
    "o": "blk.{layer}.attn_output.weight",
    "gate": "blk.{layer}.ffn_gate.weight",
    "up": "blk.{layer}.ffn_up.weight",
    "down": "blk.{layer}.ffn_down.weight",
    "q_bias": "blk.{layer}.attn_q.bias",
    "k_bias": "blk.{layer}.attn_k.bias",
    "v_bias": "blk.{layer}.attn_v.bias",
}
ROPE_FACTORS_TENSOR = "rope_freqs.weight"


class GGUFSource:
    """A GGUF file.

    Raises:
        ConfigurationError: it is no GGUF file, is cut off, or its architecture is not in the table.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
            raise ConfigurationError(f"{path} is not a whole GGUF file: {error}") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self._config = self._read_config()
        self._refuse_biases()

    @property
    def config(self) -> DecoderConfig:
        return self._config

    def weight(self, name: str, layer: int | None = None) -> Floats:
        tensor_name = TENSOR_NAMES[name].format(layer=layer)
        values = self._tensor(tensor_name)
        expected = weight_shape(self._config, name)
        if values.shape != expected:
            raise ConfigurationError(
                f"{self._path.name}: {tensor_name} has the shape {values.shape}, not {expected}"
            )
        if self._config.architecture.is_rope_permuted_in_gguf and name in {"q", "k"}:
            num_heads = self._config.num_heads if name == "q" else self._config.num_kv_heads
            return unpermuted(values, num_heads)
        return values

    def write_tokenizer(self, folder: Path) -> None:
        tokenizer = GGUFTokenizer(
            model=str(self._field("tokenizer.ggml.model")),
            pre_tokenizer=str(self._field("tokenizer.ggml.pre", "default")),
            tokens=self._strings("tokenizer.ggml.tokens"),
            token_types=[int(kind) for kind in self._field("tokenizer.ggml.token_type")],
            merges=self._strings("tokenizer.ggml.merges"),
            bos_token_id=self._config.bos_token_id,
            eos_token_id=self._config.eos_token_ids[0],
            pad_token_id=self._config.pad_token_id,
            chat_template=self._field("tokenizer.chat_template", None),
            adds_bos=self._field("tokenizer.ggml.add_bos_token", None),
        )
        write_gguf_tokenizer(tokenizer, folder)

    def _refuse_biases(self) -> None:
        known = (
            ("attn_q.bias", "attn_k.bias", "attn_v.bias") if self._config.architecture.has_qkv_bias else ()
        )
        for name in self._tensors:
            if name.endswith(".bias") and not name.endswith(known):
                raise ConfigurationError(
                    f"{self._path.name} has the tensor {name}, which the builder does not know for its "
                    "architecture: use `llm-inference-service model export` on its Hugging Face checkpoint",
                )

    def _read_config(self) -> DecoderConfig:
        architecture = self._architecture()
        prefix = str(architecture.gguf_name)
        hidden_size = int(self._field(f"{prefix}.embedding_length"))
        num_heads = int(self._field(f"{prefix}.attention.head_count"))
        head_dim = int(self._field(f"{prefix}.attention.key_length", hidden_size // num_heads))
        eos_token_id = int(self._field("tokenizer.ggml.eos_token_id"))
        bos_token_id = self._field("tokenizer.ggml.bos_token_id", None)
        eot_token_id = self._field("tokenizer.ggml.eot_token_id", eos_token_id)
        return DecoderConfig(
            architecture=architecture,
            num_layers=int(self._field(f"{prefix}.block_count")),
            hidden_size=hidden_size,
            intermediate_size=int(self._field(f"{prefix}.feed_forward_length")),
            num_heads=num_heads,
            num_kv_heads=int(self._field(f"{prefix}.attention.head_count_kv", num_heads)),
            head_dim=head_dim,
            vocab_size=int(self._reader_tensor(TENSOR_NAMES["embedding"]).shape[1]),
            context_length=int(self._field(f"{prefix}.context_length")),
            norm_epsilon=float(self._field(f"{prefix}.attention.layer_norm_rms_epsilon")),
            rope_theta=float(self._field(f"{prefix}.rope.freq_base", 10_000.0)),
            rope_scaling=self._rope_scaling(prefix, head_dim),
            is_head_tied=TENSOR_NAMES["head"] not in self._tensors,
            sliding_window=None,
            bos_token_id=None if bos_token_id is None else int(bos_token_id),
            eos_token_ids=tuple(dict.fromkeys([eos_token_id, int(eot_token_id)])),
            pad_token_id=int(self._field("tokenizer.ggml.padding_token_id", eos_token_id)),
        )

    def _architecture(self) -> Architecture:
        name = self._field("general.architecture")
        for architecture in ARCHITECTURES:
            if architecture.gguf_name == name:
                return architecture
        known = ", ".join(a.gguf_name for a in ARCHITECTURES if a.gguf_name)
        raise ConfigurationError(
            f"{self._path.name} is of the architecture {name!r}; from GGUF the builder knows {known}. "
            "Export its Hugging Face checkpoint with `llm-inference-service model export`",
        )

    def _rope_scaling(self, prefix: str, head_dim: int) -> RopeScaling | None:
        if ROPE_FACTORS_TENSOR in self._tensors:
            return RopeScaling(self._tensor(ROPE_FACTORS_TENSOR))
        kind = self._field(f"{prefix}.rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind == "linear":
            return linear_scaling(float(self._field(f"{prefix}.rope.scaling.factor")), head_dim)
        raise ConfigurationError(f"{self._path.name}: rotary scaling of type {kind!r} is not known")

    def _tensor(self, name: str) -> Floats:
        tensor = self._reader_tensor(name)
        try:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, ValueError) as error:
            raise ConfigurationError(
                f"{self._path.name}: {name} cannot be read ({tensor.tensor_type.name}): {error}",
            ) from error
        return np.asarray(values, np.float32)

    def _reader_tensor(self, name: str) -> Any:
        try:
            return self._tensors[name]
        except KeyError as error:
            raise ConfigurationError(f"{self._path.name} has no tensor {name}") from error

    def _field(self, name: str, *default: Any) -> Any:
        field = self._reader.get_field(name)
        if field is not None:
            return field.contents()
        if default:
            return default[0]
        raise ConfigurationError(f"{self._path.name} has no field {name}")

    def _strings(self, name: str) -> list[str]:
        field = self._reader.get_field(name)
        if field is None:
            raise ConfigurationError(f"{self._path.name} has no field {name}")
        # several times as fast as contents() for the tens of thousands of a vocabulary
        return [field.parts[index].tobytes().decode("utf-8") for index in field.data]


def unpermuted(weight: Floats, num_heads: int) -> Floats:
    """Undo GGUF's reordering of the rows of q and k for interleaved rotary embeddings.

    ``weight`` is ``float32[heads * head_dim, in]``; GGUF's converter moved row ``(half, i)`` of each head to
    ``(i, half)`` (``LlamaModel.permute`` of llama.cpp's ``convert_hf_to_gguf.py``).
    """
    num_rows, num_in = weight.shape
    split = weight.reshape(num_heads, num_rows // num_heads // 2, 2, num_in)
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(num_rows, num_in))
