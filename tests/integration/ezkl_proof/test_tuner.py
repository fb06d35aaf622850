"""The tuner on small heads: accurate, deployable, and fastest of what it measured."""

from pathlib import Path

import numpy as np
import pytest

from adapters.ezkl_proof.parameters import InputVisibility
from adapters.ezkl_proof.solidity import MAX_CONTRACT_BYTES
from adapters.ezkl_proof.tuner import Bars, tune
from adapters.onnx.builder import SilentReporter
from domain.errors import ConfigurationError
from entrypoints.cli import main
from tests.contracts import NODE_MODULES
from tests.heads import write_head, write_integer_head

SAMPLES = np.random.default_rng(2).normal(0, 1, (40, 16))


def test_the_choice_is_accurate_deployable_and_the_fastest(tmp_path: Path) -> None:
    write_head(tmp_path / "logits.onnx", (16, 3), has_argmax=False)

    result = tune(
        tmp_path / "logits.onnx", SAMPLES, InputVisibility.PUBLIC, SilentReporter(), node_modules=NODE_MODULES
    )

    assert result.accuracy.label_agreement >= 0.99
    assert 0 < result.accuracy.max_error <= 0.05
    assert len(result.candidates) > 2
    assert result.chosen.num_verifier_bytes <= MAX_CONTRACT_BYTES
    assert result.chosen.prove_s == min(c.prove_s for c in result.candidates if c.is_deployable)


def test_integers_need_no_scale(tmp_path: Path) -> None:
    write_integer_head(tmp_path / "votes.onnx", 16, 3)
    samples = np.rint(SAMPLES * 4)

    result = tune(
        tmp_path / "votes.onnx", samples, InputVisibility.PUBLIC, SilentReporter(), node_modules=NODE_MODULES
    )

    assert result.chosen.parameters.scale == 0
    assert result.accuracy.label_agreement == 1


def test_bars_that_no_circuit_reaches_are_an_error_that_tells_the_best(tmp_path: Path) -> None:
    write_head(tmp_path / "logits.onnx", (16, 3), has_argmax=False)
    bars = Bars(max_error=1e-9)

    with pytest.raises(ConfigurationError, match="the best was"):
        tune(
            tmp_path / "logits.onnx",
            SAMPLES[:4],
            InputVisibility.PUBLIC,
            SilentReporter(),
            node_modules=NODE_MODULES,
            bars=bars,
        )


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1, 2]", "[[1, 2], [1]]", '[["a"]]'])
def test_samples_of_another_form_are_refused(tmp_path: Path, content: str) -> None:
    write_head(tmp_path / "head.onnx", (16, 3))
    (tmp_path / "samples.json").write_text(content)
    command = ["circuit", "build", str(tmp_path / "head.onnx"), "--samples", str(tmp_path / "samples.json")]

    assert main([*command, "--out", str(tmp_path / "circuit")]) == 78
