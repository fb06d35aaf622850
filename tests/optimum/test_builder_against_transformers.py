"""The builder's graphs against the reference implementation of each architecture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession
from tests.checkpoints import (
    LLAMA,
    LLAMA_LONG,
    LLAMA_UNTIED,
    MISTRAL,
    QWEN2,
    QWEN2_WIDE_HEADS,
    TinyModel,
    write_safetensors_checkpoint,
)

TOKEN_IDS = np.random.default_rng(11).integers(0, 256, 100)


@pytest.mark.parametrize(
    "model",
    [LLAMA, LLAMA_UNTIED, LLAMA_LONG, MISTRAL, QWEN2, QWEN2_WIDE_HEADS],
    ids=["llama", "llama-untied", "llama-scaled-rope", "mistral", "qwen2", "qwen2-wide-heads"],
)
def test_fp32_logits_agree_with_transformers(model: TinyModel, tmp_path: Path) -> None:
    write_safetensors_checkpoint(model, tmp_path / "checkpoint")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", attn_implementation="eager")
    with torch.no_grad():
        expected = reference(torch.tensor(TOKEN_IDS[np.newaxis])).logits[0].numpy()

    options = BuildOptions(precision=Precision.FP32)
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", options, SilentReporter())
    session = OnnxSession(
        read_model_folder(tmp_path / "model"), ProviderChoice.CPU, num_threads=1, num_slots=1, max_length=128
    )
    rest = len(TOKEN_IDS) - 60
    logits = np.concatenate(
        [
            session.prefill(0, TOKEN_IDS[:60], 0, num_logits=60),
            session.prefill(0, TOKEN_IDS[60:], 60, num_logits=rest),
        ]
    )

    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert np.abs(expected).max() > 1
