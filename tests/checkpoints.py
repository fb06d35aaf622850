"""Tiny random checkpoints of the Llama family, as safetensors folders and as GGUF files.

The weights are large enough that tokens differ clearly and position matters; the tokenizer is byte-level with
a chat template of three special tokens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

Floats = npt.NDArray[np.float32]

SPECIAL_TOKENS = ("<end>", "<user>", "<assistant>")
NO_SYSTEM_ROLE = "{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{NO_SYSTEM_ROLE}"
    "<{{ message.role }}>{{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NUM_BYTES = 256
MERGED = "ab"
"""The one token of two bytes."""


@dataclass(frozen=True, slots=True)
class TinyModel:
    """The shape of a random model."""

    model_type: str
    num_layers: int = 2
    hidden_size: int = 64
    intermediate_size: int = 96
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    context_length: int = 256
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5
    has_qkv_bias: bool = False
    is_head_tied: bool = True
    extra_config: dict[str, Any] = field(default_factory=dict)

    @property
    def vocab_size(self) -> int:
        return NUM_BYTES + len(SPECIAL_TOKENS) + 1


LLAMA = TinyModel("llama")
LLAMA_UNTIED = TinyModel("llama", is_head_tied=False)
LLAMA_LONG = TinyModel(
    "llama",
    extra_config={
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
)
MISTRAL = TinyModel("mistral", is_head_tied=False, extra_config={"sliding_window": 48})
QWEN2 = TinyModel("qwen2", has_qkv_bias=True, rope_theta=1_000_000.0, norm_epsilon=1e-6)
QWEN2_WIDE_HEADS = TinyModel("qwen2", has_qkv_bias=True, num_heads=2, num_kv_heads=1, head_dim=32)


def random_weights(model: TinyModel, seed: int = 7) -> dict[str, Floats]:
    """Return weights by their Hugging Face names."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int, scale: float | None = None) -> Floats:
        return random.normal(0, scale or 1.5 / np.sqrt(shape[-1]), shape).astype(np.float32)

    def norm(size: int) -> Floats:
        return random.uniform(0.5, 1.5, size).astype(np.float32)

    hidden, q, kv = (
        model.hidden_size,
        model.num_heads * model.head_dim,
        model.num_kv_heads * model.head_dim,
    )
    weights = {
        "model.embed_tokens.weight": matrix(model.vocab_size, hidden, scale=0.3),
        "model.norm.weight": norm(hidden),
    }
    if not model.is_head_tied:
        weights["lm_head.weight"] = matrix(model.vocab_size, hidden)
    for layer in range(model.num_layers):
        sizes = {
            "self_attn.q_proj": (q, hidden),
            "self_attn.k_proj": (kv, hidden),
            "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, q),
            "mlp.gate_proj": (model.intermediate_size, hidden),
            "mlp.up_proj": (model.intermediate_size, hidden),
            "mlp.down_proj": (hidden, model.intermediate_size),
        }
        prefix = f"model.layers.{layer}"
        for name, shape in sizes.items():
            weights[f"{prefix}.{name}.weight"] = matrix(*shape)
            if model.has_qkv_bias and name.rpartition(".")[2] in {"q_proj", "k_proj", "v_proj"}:
                weights[f"{prefix}.{name}.bias"] = matrix(shape[0], scale=0.5)
        weights[f"{prefix}.input_layernorm.weight"] = norm(hidden)
        weights[f"{prefix}.post_attention_layernorm.weight"] = norm(hidden)
    return weights


def hugging_face_config(model: TinyModel) -> dict[str, Any]:
    """Return ``config.json``."""
    return {
        "architectures": [f"{model.model_type.capitalize()}ForCausalLM"],
        "model_type": model.model_type,
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.context_length,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope_theta,
        "tie_word_embeddings": model.is_head_tied,
        "hidden_act": "silu",
        "bos_token_id": NUM_BYTES,
        "eos_token_id": NUM_BYTES,
        "torch_dtype": "float32",
        **model.extra_config,
    }


def write_safetensors_checkpoint(
    model: TinyModel, folder: Path, *, num_files: int = 1, dtype: npt.DTypeLike = np.float32
) -> dict[str, Floats]:
    """Write a folder as ``save_pretrained`` does; returns its weights as they read back."""
    folder.mkdir(parents=True)
    weights = {name: value.astype(dtype) for name, value in random_weights(model).items()}
    names = sorted(weights)
    for index in range(num_files):
        chosen = {name: weights[name] for name in names[index::num_files]}
        name = "model" if num_files == 1 else f"model-{index + 1:05}-of-{num_files:05}"
        save_file(chosen, folder / f"{name}.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hugging_face_config(model)))
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<end>",
                "bos_token": "<end>",
                "pad_token": "<end>",
                "model_max_length": model.context_length,
                "clean_up_tokenization_spaces": False,
                "chat_template": CHAT_TEMPLATE,
            }
        )
    )
    return {name: value.astype(np.float32) for name, value in weights.items()}


def tokenizer() -> Tokenizer:
    """Return a tokenizer with a token for each byte, the special ones and one merge."""
    tokens = {token: index for index, token in enumerate(vocabulary())}
    fast = Tokenizer(models.BPE(tokens, [(MERGED[0], MERGED[1])]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return fast


def vocabulary() -> list[str]:
    """Return every token, in the order of its id."""
    return [*byte_tokens(), *SPECIAL_TOKENS, MERGED]


def byte_tokens() -> list[str]:
    """Return the byte-level alphabet in the order of its bytes, as GPT-2 writes them."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(NUM_BYTES) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {
        byte: chr(NUM_BYTES + index) for index, byte in enumerate(others)
    }
    return [characters[byte] for byte in range(NUM_BYTES)]


GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf_checkpoint(
    model: TinyModel,
    file: Path,
    *,
    pre_tokenizer: str = "gpt-2",
    adds_bos: bool | None = None,
    further_tensors: Mapping[str, Floats] | None = None,
) -> dict[str, Floats]:
    """Write a GGUF file as llama.cpp's converter does; returns its weights by their Hugging Face names."""
    weights = random_weights(model)
    writer = gguf.GGUFWriter(file, model.model_type)
    writer.add_block_count(model.num_layers)
    writer.add_embedding_length(model.hidden_size)
    writer.add_feed_forward_length(model.intermediate_size)
    writer.add_head_count(model.num_heads)
    writer.add_head_count_kv(model.num_kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_context_length(model.context_length)
    writer.add_layer_norm_rms_eps(model.norm_epsilon)
    writer.add_rope_freq_base(model.rope_theta)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(vocabulary())
    writer.add_token_types(
        [
            *[gguf.TokenType.NORMAL] * NUM_BYTES,
            *[gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS),
            gguf.TokenType.NORMAL,
        ]
    )
    writer.add_token_merges([" ".join(MERGED)])
    writer.add_eos_token_id(NUM_BYTES)
    writer.add_bos_token_id(NUM_BYTES)
    if adds_bos is not None:
        writer.add_add_bos_token(adds_bos)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, value in weights.items():
        writer.add_tensor(_gguf_name(name), _permuted(model, name, value))
    for name, value in (further_tensors or {}).items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[rest]}.{kind}"
    return f"{GGUF_NAMES[stem]}.{kind}"


def _permuted(model: TinyModel, name: str, value: Floats) -> Floats:
    """Reorder q and k as llama.cpp's converter does for Llama (``LlamaModel.permute``)."""
    heads = {"q_proj": model.num_heads, "k_proj": model.num_kv_heads}
    part = name.split(".")[-2]
    if model.model_type != "llama" or part not in heads:
        return value
    shape = (heads[part], 2, value.shape[0] // heads[part] // 2, *value.shape[1:])
    return np.ascontiguousarray(value.reshape(shape).swapaxes(1, 2).reshape(value.shape))
