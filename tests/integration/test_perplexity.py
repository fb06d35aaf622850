"""What the default precision costs the default model, on the two fixed texts."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from adapters.onnx.perplexity import compare, measure_perplexity
from adapters.onnx.tokenizer import Tokenizer
from entrypoints.cli import main
from tests.checkpoints import LLAMA, write_safetensors_checkpoint
from tests.reference_decoder import reference_logits


@pytest.fixture(scope="module")
def fp32_folder(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fp32") / "model"
    build_model_folder(smollm2_gguf, folder, BuildOptions(Precision.FP32), SilentReporter())
    yield folder
    shutil.rmtree(folder)


def test_the_default_precision_keeps_perplexity_within_one_percent(
    smollm2_folder: Path, fp32_folder: Path
) -> None:
    texts = compare(smollm2_folder, fp32_folder)

    assert len(texts) == 2
    for text in texts:
        assert text.num_tokens > 1000
        assert text.perplexity == pytest.approx(text.reference_perplexity, rel=0.01)
        assert text.top1_agreement > 0.9
        assert text.perplexity < 40  # the model has read such texts


def test_perplexity_is_that_of_an_independent_forward_pass(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.txt").write_text("Alice was beginning to get very tired of sitting by her sister.")
    monkeypatch.setattr("adapters.onnx.perplexity.TEXTS_FOLDER", tmp_path)
    weights = write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    token_ids = Tokenizer(tiny_folder).encode((tmp_path / "short.txt").read_text())
    logits = reference_logits(LLAMA, weights, token_ids[:-1])
    chosen = logits[np.arange(len(logits)), token_ids[1:]]
    expected = math.exp(float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen)))

    (text,) = measure_perplexity(tiny_folder)

    assert text.num_tokens == len(token_ids)
    assert text.perplexity == pytest.approx(expected, rel=1e-4)


def test_the_command_prints_the_figures(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "perplexity", str(tiny_folder), "--reference", str(tiny_folder)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["alice", "apache_license"]
    assert all("change +0.00%" in line and "agreement 100.0%" in line for line in lines)
