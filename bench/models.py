"""The default model in each form that a peer reads, made once under ``build/bench``."""

import json
import subprocess
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from adapters.onnx.builder import BuildOptions, Precision, TqdmReporter, build_model_folder
from adapters.onnx.builder.folder import open_source
from adapters.settings import DEFAULT_MODEL, read_settings
from entrypoints.model_source import PACKAGE_PREFIX, packaged_gguf, prepare_model

BUILT = Path("build/bench")

HUGGING_FACE_NAMES = {
    "embedding": "model.embed_tokens.weight",
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
}


def gguf_file() -> Path:
    """Return the default model as its package ships it."""
    return packaged_gguf(DEFAULT_MODEL.removeprefix(PACKAGE_PREFIX))


def served_folder() -> Path:
    """Return the model folder that the service serves by the settings, built if need be."""
    return prepare_model(read_settings(), TqdmReporter()).folder


def fp32_folder() -> Path:
    """Return the default model as a model folder in fp32: the reference that answers are scored by."""
    folder = BUILT / "fp32"
    build_model_folder(gguf_file(), folder, BuildOptions(precision=Precision.FP32), TqdmReporter())
    return folder


def quantized_gguf(quantize: Path, weights: str) -> Path:
    """Return the default model's GGUF file with other weights, by llama.cpp's own tool.

    Args:
        quantize: the program ``llama-quantize``.
        weights: ``Q8_0``, ``Q4_0``, …; ``Q4_1`` is the file itself.
    """
    if weights == "Q4_1":
        return gguf_file()
    file = BUILT / f"{weights}.gguf"
    if not file.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        command = [str(quantize), "--allow-requantize", str(gguf_file()), str(partial), weights]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial.rename(file)
    return file


def hugging_face_checkpoint() -> Path:
    """Return the default model as a Hugging Face folder in fp32: for vLLM and optimum."""
    folder = BUILT / "checkpoint"
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    source = open_source(gguf_file())
    config = source.config
    tensors: dict[str, Any] = {}
    for name, template in HUGGING_FACE_NAMES.items():
        for layer in range(config.num_layers) if "{layer}" in template else (None,):
            tensors[template.format(layer=layer)] = source.weight(name, layer)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    source.write_tokenizer(folder)
    _complete_tokenizer_config(folder)
    written = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.is_head_tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_ids[0],
        "pad_token_id": config.pad_token_id,
        "torch_dtype": "float32",
    }
    # last: it marks the folder as whole
    (folder / "config.json").write_text(json.dumps(written, indent=2), encoding="utf-8")
    return folder


def _complete_tokenizer_config(folder: Path) -> None:
    """Let transformers load ``tokenizer.json`` as it is; its GPT-2 class would want other files."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")


def exported_folder(python: Path) -> Path:
    """Return the default model as optimum exports it, with the Python of ``make test-optimum``."""
    folder = BUILT / "optimum"
    if not folder.exists():
        command = [str(python), "-m", "entrypoints.cli", "model", "export"]
        subprocess.run([*command, str(hugging_face_checkpoint()), "--out", str(folder)], check=True)
    return folder
