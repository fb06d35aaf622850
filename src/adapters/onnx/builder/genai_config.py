"""``genai_config.json``: how ONNX Runtime GenAI (and our engine) finds its way about a model folder."""

from typing import Any

from adapters.onnx.builder.architecture import DecoderConfig
from adapters.onnx.builder.attention import PAST_KEY, PAST_VALUE, PRESENT_KEY, PRESENT_VALUE
from adapters.onnx.builder.decoder import HIDDEN_STATES


def genai_config(config: DecoderConfig, model_file: str, *, has_hidden_states: bool) -> dict[str, Any]:
    """Return the content of ``genai_config.json``."""
    eos = config.eos_token_ids
    model: dict[str, Any] = {
        "type": config.architecture.name,
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "eos_token_id": eos[0] if len(eos) == 1 else list(eos),
        "pad_token_id": config.pad_token_id,
        "decoder": {
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "filename": model_file,
            "head_size": config.head_dim,
            "hidden_size": config.hidden_size,
            "num_attention_heads": config.num_heads,
            "num_hidden_layers": config.num_layers,
            "num_key_value_heads": config.num_kv_heads,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": PAST_KEY,
                "past_value_names": PAST_VALUE,
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": PRESENT_KEY,
                "present_value_names": PRESENT_VALUE,
            },
        },
    }
    if has_hidden_states:
        model["decoder"]["outputs"]["hidden_states"] = HIDDEN_STATES
    if config.bos_token_id is not None:
        model["bos_token_id"] = config.bos_token_id
    search = {
        "do_sample": False,
        "max_length": config.context_length,
        "min_length": 0,
        "num_beams": 1,
        "num_return_sequences": 1,
        "past_present_share_buffer": True,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "top_k": 1,
        "top_p": 1.0,
    }
    return {"model": model, "search": search}
