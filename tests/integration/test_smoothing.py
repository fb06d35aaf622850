"""Smoothed weights compute what the checkpoint's do, and one request's activations do not harm another's."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from adapters.onnx.builder.calibration import calibrate
from adapters.onnx.builder.decoder import write_decoder
from adapters.onnx.builder.folder import open_source
from adapters.onnx.builder.smoothing import Smoothing
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.perplexity import TEXTS_FOLDER
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.sampler import log_softmax_at
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer
from tests.checkpoints import (
    LLAMA,
    LLAMA_UNTIED,
    MISTRAL,
    QWEN2,
    QWEN2_WIDE_HEADS,
    TinyModel,
    write_gguf_checkpoint,
    write_safetensors_checkpoint,
)

FP32 = BuildOptions(Precision.FP32)


def smoothed_copy(source: Path, folder: Path, target: Path) -> Smoothing:
    """Write an fp32 folder again with the smoothing of its checkpoint folded in."""
    shutil.copytree(folder, target)
    checkpoint = open_source(source)
    smoothing = calibrate(checkpoint, target, SilentReporter())
    with (target / "model.onnx.data").open("wb") as data_file:
        write_decoder(
            checkpoint, target / "model.onnx", data_file, FP32, SilentReporter(), smoothing=smoothing
        )
    return smoothing


def outputs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and hidden states of a few tokens."""
    session = OnnxSession(
        read_model_folder(folder), ProviderChoice.CPU, num_threads=1, num_slots=1, max_length=64
    )
    token_ids = np.random.default_rng(5).integers(0, 256, 60).astype(np.int64)
    return session.prefill(0, token_ids, 0, num_logits=60), session.hidden_states(0, token_ids, 0)


@pytest.mark.parametrize(
    "model",
    [LLAMA, LLAMA_UNTIED, MISTRAL, QWEN2, QWEN2_WIDE_HEADS],
    ids=["llama", "llama-untied", "mistral", "qwen2", "qwen2-wide-heads"],
)
@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_smoothing_changes_the_weights_and_nothing_that_they_compute(
    model: TinyModel, form: str, tmp_path: Path
) -> None:
    if form == "gguf" and model is MISTRAL:
        model = LLAMA  # GGUF has no name of its own for it
    source = tmp_path / f"checkpoint.{form}"
    if form == "gguf":
        write_gguf_checkpoint(model, source)
    else:
        write_safetensors_checkpoint(model, source)
    build_model_folder(source, tmp_path / "plain", FP32, SilentReporter())

    smoothing = smoothed_copy(source, tmp_path / "plain", tmp_path / "smoothed")

    for layer in smoothing:
        inputs = [layer.attention_input, layer.attention_output, layer.mlp_input]
        for divisors in (*(each.divisors for each in inputs), layer.mlp_output_divisors):
            assert divisors.max() / divisors.min() > 1.5
        assert all(each.maximum > 0 for each in inputs)
    for plain, smoothed in zip(outputs(tmp_path / "plain"), outputs(tmp_path / "smoothed"), strict=True):
        assert np.abs(plain).max() > 1
        np.testing.assert_allclose(smoothed, plain, atol=1e-4)


def mean_nll(session: OnnxSession, token_ids: np.ndarray, neighbours: np.ndarray) -> float:
    """Decode a text in slot 0, the neighbours' tokens in the slots behind; returns the text's mean NLL."""
    scores = []
    for position in range(len(token_ids) - 1):
        fed = np.concatenate([token_ids[position : position + 1], neighbours[:, position]])
        logits = session.decode(fed, np.full(len(fed), position, np.int64))
        scores.append(log_softmax_at(logits[:1], token_ids[position + 1 : position + 2]))
    return -float(np.mean(np.concatenate(scores)))


@pytest.mark.parametrize("neighbour", ["random tokens", "one token forever", "special tokens"])
def test_rows_beside_it_do_not_change_what_a_row_is_answered(smollm2_folder: Path, neighbour: str) -> None:
    folder = read_model_folder(smollm2_folder)
    session = OnnxSession(folder, ProviderChoice.CPU, num_threads=1, num_slots=16, max_length=96)
    text = (TEXTS_FOLDER / "alice.txt").read_text(encoding="utf-8")
    token_ids = np.array(Tokenizer(smollm2_folder).encode(text)[:90], np.int64)
    random = np.random.default_rng(9)
    neighbours = {
        "random tokens": random.integers(0, folder.vocab_size, (15, 90)),
        "one token forever": np.broadcast_to(random.integers(0, folder.vocab_size, (15, 1)), (15, 90)),
        "special tokens": random.integers(0, 17, (15, 90)),
    }[neighbour].astype(np.int64)

    alone = mean_nll(session, token_ids, neighbours[:0])
    beside = mean_nll(session, token_ids, neighbours)

    assert beside == pytest.approx(alone, abs=1e-4)
