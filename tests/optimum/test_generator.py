"""The generic backend keeps the contract, and exports what it runs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.onnx.backend import OnnxOptions, OnnxTextGenerator
from adapters.onnx.builder import SilentReporter
from adapters.optimum import OptimumTextGenerator, export_model
from adapters.optimum.generator import Event, _EmittingStreamer
from domain.errors import ConfigurationError, OverloadedError
from domain.generation import TokenChunk
from domain.messages import ChatMessage
from domain.ports import TextGenerator
from domain.workflow import collect
from entrypoints.cli import main
from tests.checkpoints import LLAMA, write_safetensors_checkpoint
from tests.contract.text_generator import TextGeneratorContract, prompt
from tests.reference_decoder import reference_logits
from tests.service_process import service


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("optimum") / "checkpoint"
    write_safetensors_checkpoint(LLAMA, folder)
    return folder


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    export_model(str(checkpoint), checkpoint.parent / "exported", token=None, report=SilentReporter())
    return checkpoint.parent / "exported"


@pytest.fixture
async def optimum(exported: Path) -> AsyncIterator[OptimumTextGenerator]:
    generator = OptimumTextGenerator(exported, "tiny")
    await generator.open()
    yield generator
    await generator.close()


class TestOptimum(TextGeneratorContract):
    @pytest.fixture
    def new_generator(self, exported: Path) -> Callable[[], TextGenerator]:
        return lambda: OptimumTextGenerator(exported, "tiny")

    @pytest.fixture
    def generator(self, optimum: OptimumTextGenerator) -> TextGenerator:
        return optimum

    async def test_text_comes_in_pieces(self, generator: TextGenerator) -> None:
        # a piece ends with a word, and a random model says none: so the words are fed to its streamer
        assert isinstance(generator, OptimumTextGenerator)
        _, tokenizer, _ = generator._ready()
        pieces: list[Event] = []
        streamer = _EmittingStreamer(tokenizer, ["not"], pieces.append)
        streamer.put(torch.tensor([[1, 2, 3]]))
        for token_id in tokenizer("to be or not to be", add_special_tokens=False)["input_ids"]:
            streamer.put(torch.tensor([token_id]))
        streamer.end()

        assert pieces == [TokenChunk("to "), TokenChunk("be "), TokenChunk("or ")]
        assert streamer.has_stopped


async def test_it_answers_as_the_engine_does(optimum: OptimumTextGenerator, tiny_folder: Path) -> None:
    engine = OnnxTextGenerator(tiny_folder, "tiny", OnnxOptions(max_context_tokens=256))
    await engine.open()
    try:
        for text in ("hello", "what is your name?", "0123456789"):
            question = prompt(text, max_tokens=40)
            assert await collect(optimum.generate(question)) == await collect(engine.generate(question))
            messages = [ChatMessage("user", text)]
            ours = await engine.score_labels(messages, ["yes", "no"])
            theirs = await optimum.score_labels(messages, ["yes", "no"])
            assert theirs.log_probabilities == pytest.approx(ours.log_probabilities, abs=1e-3)
            assert theirs.usage == ours.usage
    finally:
        await engine.close()


async def test_exported_logits_agree_with_an_independent_forward_pass(
    optimum: OptimumTextGenerator, checkpoint: Path, tmp_path: Path
) -> None:
    weights = write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    _, tokenizer, _ = optimum._ready()
    prompt_ids = optimum._prompt_ids([ChatMessage("user", "hello")])
    label_ids = tokenizer("yes", add_special_tokens=False)["input_ids"]
    logits = reference_logits(LLAMA, weights, [*prompt_ids, *label_ids])[len(prompt_ids) - 1 : -1]
    scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = float(scores[np.arange(len(label_ids)), label_ids].sum())

    labels = await optimum.score_labels([ChatMessage("user", "hello")], ["yes"])

    assert labels.log_probabilities["yes"] == pytest.approx(expected, abs=1e-3)


async def test_calls_wait_in_line_and_too_many_are_refused(exported: Path) -> None:
    generator = OptimumTextGenerator(exported, "tiny", max_waiting=1)
    await generator.open()
    release = threading.Event()
    generator._thread.submit(release.wait)
    calls = [asyncio.create_task(collect(generator.generate(prompt(max_tokens=2)))) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(OverloadedError):
        await collect(generator.generate(prompt()))
    release.set()

    assert [(await call).usage.num_completion_tokens for call in calls] == [2, 2]
    await generator.close()


def test_a_checkpoint_that_cannot_be_loaded_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    generator = OptimumTextGenerator(tmp_path, "tiny")

    with pytest.raises(ConfigurationError, match="optimum cannot load"):
        asyncio.run(generator.open())


def test_the_command_exports_once_and_leaves_another_folder_alone(checkpoint: Path, tmp_path: Path) -> None:
    command = ["model", "export", str(checkpoint), "--out"]
    assert main([*command, str(tmp_path / "exported")]) == 0
    graph = tmp_path / "exported" / "model.onnx"
    written_ns = graph.stat().st_mtime_ns
    assert main([*command, str(tmp_path / "exported")]) == 0
    assert graph.stat().st_mtime_ns == written_ns

    (tmp_path / "other").mkdir()
    assert main([*command, str(tmp_path / "other")]) == 78


def test_the_service_exports_a_checkpoint_once_and_serves_it(checkpoint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "LLM_BACKEND": "optimum",
        "LLM_MODEL": str(checkpoint),
        "LLM_CACHE_DIR": str(tmp_path),
    }
    data = {"key": "1", "messageId": "2", "text": "hello", "history": [], "parameters": {"max_tokens": 5}}
    answers = []
    for _ in range(2):
        with service("--workers=2", **settings) as running:
            response = running.post(data)
            assert response.status_code == 200
            assert response.headers["x-completion-tokens"] == "5"
            assert response.headers["x-model-id"] == "checkpoint"
            answers.append(response.json())

    assert answers[0] == answers[1]
    exports = [entry for entry in (tmp_path / "exports").iterdir() if entry.is_dir()]
    assert len(exports) == 1


def test_a_checkpoint_that_cannot_be_exported_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")

    with pytest.raises(ConfigurationError, match="cannot be exported"):
        export_model(str(tmp_path / "checkpoint"), tmp_path / "out", token=None, report=SilentReporter())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint", "out.lock"]
