"""The builder as its user meets it: repeated, interrupted, twice at once, and on broken checkpoints."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.manifest import check_sizes, read_manifest, verify_manifest
from adapters.onnx.builder import (
    BuildOptions,
    Precision,
    SilentReporter,
    build_model_folder,
    is_model_folder,
)
from adapters.onnx.builder.prepacking import prepack
from adapters.onnx.builder.safetensors_source import SafetensorsSource
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.tokenizer import Tokenizer
from domain.errors import ConfigurationError
from tests.checkpoints import LLAMA, MERGED, NUM_BYTES, write_gguf_checkpoint, write_safetensors_checkpoint

FP32 = BuildOptions(precision=Precision.FP32)


class NotingReporter(SilentReporter):
    """Notes what it is told; raises at the step of a given number."""

    def __init__(self, raises_at: int | None = None, error: BaseException | None = None) -> None:
        self.stages: list[str] = []
        self.num_steps = 0
        self.warnings: list[str] = []
        self._raises_at = raises_at
        self._error = error or KeyboardInterrupt()

    def start(self, stage: str, total: int) -> None:
        self.stages.append(stage)

    def advance(self, steps: int = 1) -> None:
        self.num_steps += steps
        if self.num_steps == self._raises_at:
            raise self._error

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_build_is_a_whole_folder_with_its_manifest_and_shows_progress(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = NotingReporter()

    build_model_folder(checkpoint, tmp_path / "model", FP32, report)

    folder = tmp_path / "model"
    assert is_model_folder(folder)
    assert read_model_folder(folder).num_layers == 2
    manifest = verify_manifest(folder)
    assert manifest is not None
    assert set(manifest.files) == {file.name for file in folder.iterdir()} - {"manifest.json"}
    assert report.stages == ["building model"]
    assert report.num_steps == LLAMA.num_layers + 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint", "model", "model.lock"]


def test_building_again_does_nothing(checkpoint: Path, tmp_path: Path) -> None:
    build_model_folder(checkpoint, tmp_path / "model", FP32, SilentReporter())
    before = (tmp_path / "model" / "model.onnx.data").stat().st_mtime_ns
    report = NotingReporter()

    build_model_folder(checkpoint, tmp_path / "model", FP32, report)

    assert report.stages == []
    assert (tmp_path / "model" / "model.onnx.data").stat().st_mtime_ns == before


def test_other_options_build_again(checkpoint: Path, tmp_path: Path) -> None:
    build_model_folder(checkpoint, tmp_path / "model", FP32, SilentReporter())
    report = NotingReporter()

    build_model_folder(checkpoint, tmp_path / "model", BuildOptions(), report)

    assert report.stages
    manifest = read_manifest(tmp_path / "model")
    assert manifest is not None
    assert manifest.origin["options"]["precision"] == "int8_smooth"


@pytest.mark.parametrize("raises_at", [1, 3, 5])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(
    checkpoint: Path, tmp_path: Path, raises_at: int, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        build_model_folder(checkpoint, tmp_path / "model", FP32, NotingReporter(raises_at, error))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint", "model.lock"]

    build_model_folder(checkpoint, tmp_path / "model", FP32, SilentReporter())

    assert verify_manifest(tmp_path / "model")


def test_what_a_killed_build_left_is_swept_away(checkpoint: Path, tmp_path: Path) -> None:
    partial = tmp_path / "model.partial"
    partial.mkdir()
    (partial / "model.onnx.data").write_bytes(b"half")

    build_model_folder(checkpoint, tmp_path / "model", FP32, SilentReporter())

    assert verify_manifest(tmp_path / "model")
    assert not partial.exists()


def test_a_full_disk_is_one_message(checkpoint: Path, tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match="No space left on device"):
        build_model_folder(checkpoint, tmp_path / "model", FP32, NotingReporter(2, full))


def test_weights_that_cannot_be_laid_out_are_one_message(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build_model_folder(checkpoint, folder, FP32, SilentReporter())
    data_file = folder / "model.onnx.data"
    data_file.write_bytes(data_file.read_bytes()[:1000])
    before = sorted(folder.iterdir())

    with pytest.raises(ConfigurationError, match="cannot lay out"):
        prepack(folder / "model.onnx", data_file)

    assert sorted(folder.iterdir()) == before
    assert data_file.stat().st_size == 1000


def _build_in_a_process(checkpoint: Path, destination: Path, stages: Any) -> None:
    report = NotingReporter()
    build_model_folder(checkpoint, destination, FP32, report)
    stages.put(len(report.stages))


def test_two_builders_at_once_build_once(checkpoint: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    stages = context.Queue()
    arguments = (checkpoint, tmp_path / "model", stages)
    builders = [context.Process(target=_build_in_a_process, args=arguments) for _ in range(2)]
    for builder in builders:
        builder.start()
    num_builds = sum(stages.get(timeout=60) for _ in builders)
    for builder in builders:
        builder.join()
    stages.close()
    stages.join_thread()

    assert [builder.exitcode for builder in builders] == [0, 0]
    assert num_builds == 1
    assert verify_manifest(tmp_path / "model")


def test_a_folder_that_is_something_else_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")

    with pytest.raises(ConfigurationError, match="choose another place"):
        build_model_folder(checkpoint, other, FP32, SilentReporter())
    assert (other / "thesis.txt").read_text() == "years of work"


def test_four_bits_come_with_a_warning(checkpoint: Path, tmp_path: Path) -> None:
    report = NotingReporter()

    build_model_folder(checkpoint, tmp_path / "model", BuildOptions(Precision.INT4_BLOCK), report)

    assert "perplexity" in report.warnings[0]


@pytest.mark.parametrize("embedding", [Precision.INT8_BLOCK, Precision.INT4_BLOCK])
def test_head_and_embedding_have_precisions_of_their_own(
    checkpoint: Path, tmp_path: Path, embedding: Precision
) -> None:
    def size_of(options: BuildOptions) -> int:
        build_model_folder(checkpoint, tmp_path / "model", options, SilentReporter())
        return (tmp_path / "model" / "model.onnx.data").stat().st_size

    whole = size_of(BuildOptions(Precision.INT8_BLOCK, Precision.FP32))
    small_head = size_of(BuildOptions(Precision.INT8_BLOCK))
    small_both = size_of(BuildOptions(Precision.INT8_BLOCK, embedding_precision=embedding))

    assert whole > small_head > small_both


Damage = Callable[[Path], None]


def _edit_config(**changes: Any) -> Damage:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config |= changes
        config = {name: value for name, value in config.items() if value != "absent"}
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def _truncate(name: str, size: int) -> Damage:
    def truncate(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:size])

    return truncate


WEIGHTS = "model.safetensors"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_edit_config(model_type="gpt_oss"), "model export"),
        (_edit_config(hidden_size="absent"), "hidden_size"),
        (_edit_config(attention_bias=True), "attention_bias"),
        (_edit_config(hidden_act="gelu"), "hidden_act"),
        (
            _edit_config(model_type="qwen2", sliding_window=8, use_sliding_window=True, max_window_layers=1),
            "sliding window",
        ),
        (_edit_config(hidden_size=128), "shape"),
        (_edit_config(num_hidden_layers=3), "layers.2"),
        (_edit_config(rope_scaling={"rope_type": "yarn", "factor": 2}), "yarn"),
        (_truncate("config.json", 30), "config.json"),
        (_truncate(WEIGHTS, 4), "not a whole safetensors file"),
        (_truncate(WEIGHTS, 5000), "not a whole safetensors file"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no *.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 100), "not a whole safetensors file"),
    ],
)
def test_a_broken_safetensors_folder_is_one_message_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, damage: Damage, words: str
) -> None:
    damage(checkpoint)

    with pytest.raises(ConfigurationError) as caught:
        build_model_folder(checkpoint, tmp_path / "model", FP32, SilentReporter())

    assert words in str(caught.value)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "model.partial").exists()


@pytest.mark.parametrize("size", [0, 3, 100, 2000, 30_000, 100_000])
def test_a_gguf_file_that_is_cut_off_is_one_message(tmp_path: Path, size: int) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf_checkpoint(LLAMA, file)
    file.write_bytes(file.read_bytes()[:size])

    with pytest.raises(ConfigurationError):
        build_model_folder(file, tmp_path / "model", FP32, SilentReporter())
    assert not (tmp_path / "model").exists()


def test_a_gguf_file_with_an_unknown_pre_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    write_gguf_checkpoint(LLAMA, tmp_path / "tiny.gguf", pre_tokenizer="klingon")

    with pytest.raises(ConfigurationError, match="safetensors folder"):
        build_model_folder(tmp_path / "tiny.gguf", tmp_path / "model", FP32, SilentReporter())


def test_a_source_that_is_no_checkpoint_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigurationError, match="holds no model"):
        build_model_folder(tmp_path / "empty", tmp_path / "model", FP32, SilentReporter())


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"model_type": "mistral", "sliding_window": 8}, 8),
        ({"model_type": "mistral", "sliding_window": None}, None),
        ({"model_type": "qwen2", "sliding_window": 8}, None),
        ({"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True}, None),
        (
            {"model_type": "qwen2", "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 0},
            8,
        ),
        ({"model_type": "mistral", "sliding_window": 8, "layer_types": ["full_attention"] * 2}, None),
    ],
)
def test_layers_attend_as_far_back_as_the_checkpoint_says(
    checkpoint: Path, changes: dict[str, Any], window: int | None
) -> None:
    _edit_config(**changes)(checkpoint)

    assert SafetensorsSource(checkpoint).config.sliding_window == window


def test_a_gguf_file_with_a_bias_that_the_architecture_lacks_is_refused(tmp_path: Path) -> None:
    bias = {"blk.0.attn_q.bias": np.zeros(64, np.float32)}
    write_gguf_checkpoint(LLAMA, tmp_path / "tiny.gguf", further_tensors=bias)

    with pytest.raises(ConfigurationError, match=r"blk\.0\.attn_q\.bias"):
        build_model_folder(tmp_path / "tiny.gguf", tmp_path / "model", FP32, SilentReporter())


@pytest.mark.parametrize(
    ("pre_tokenizer", "adds_bos", "is_added"),
    [
        ("gpt-2", None, False),
        ("gpt-2", True, True),
        ("llama-bpe", None, True),
        ("llama3", None, True),
        ("llama3", False, False),
    ],
)
def test_texts_that_are_no_chats_begin_as_the_gguf_file_says(
    tmp_path: Path, pre_tokenizer: str, adds_bos: bool | None, is_added: bool
) -> None:
    file, folder = tmp_path / "tiny.gguf", tmp_path / "model"
    write_gguf_checkpoint(LLAMA, file, pre_tokenizer=pre_tokenizer, adds_bos=adds_bos)
    build_model_folder(file, folder, FP32, SilentReporter())
    tokenizer = Tokenizer(folder)

    plain, whole = tokenizer.encode("hi"), tokenizer.encode("hi", add_special_tokens=True)

    assert whole == ([NUM_BYTES, *plain] if is_added else plain)


@pytest.mark.parametrize(
    "text", ["hello world", "ünï ☃ 123", "  two  spaces\n\n", f"{MERGED}c", "<user>hi<end>"]
)
def test_the_tokenizer_of_a_gguf_file_is_that_of_the_safetensors_folder(
    checkpoint: Path, tmp_path: Path, text: str
) -> None:
    write_gguf_checkpoint(LLAMA, tmp_path / "tiny.gguf")
    build_model_folder(checkpoint, tmp_path / "a", FP32, SilentReporter())
    build_model_folder(tmp_path / "tiny.gguf", tmp_path / "b", FP32, SilentReporter())
    ours, theirs = Tokenizer(tmp_path / "b"), Tokenizer(tmp_path / "a")

    token_ids = ours.encode(text)

    assert token_ids == theirs.encode(text)
    detokenizer = ours.detokenizer()
    plain = text.replace("<user>", "").replace("<end>", "")
    assert "".join(detokenizer.step(token_id) for token_id in token_ids) == plain


def test_damage_to_a_built_folder_is_found(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build_model_folder(checkpoint, folder, FP32, SilentReporter())
    pristine = tmp_path / "pristine"
    shutil.copytree(folder, pristine)

    data = bytearray((folder / "model.onnx.data").read_bytes())
    data[1000] ^= 1
    (folder / "model.onnx.data").write_bytes(data)
    assert check_sizes(folder)  # a flipped bit leaves the size alone
    with pytest.raises(ConfigurationError, match=r"model\.onnx\.data"):
        verify_manifest(folder)

    (folder / "model.onnx.data").write_bytes(data[:-1])
    with pytest.raises(ConfigurationError, match="damaged"):
        check_sizes(folder)

    (pristine / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        check_sizes(pristine)
    (pristine / "manifest.json").write_text("{")
    with pytest.raises(ConfigurationError, match="broken"):
        check_sizes(pristine)


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"decoder": {}}}', "[]", '{"model": 3}'])
def test_a_folder_with_a_broken_genai_config_is_one_message(tmp_path: Path, content: str) -> None:
    (tmp_path / "genai_config.json").write_text(content)

    with pytest.raises(ConfigurationError, match="genai_config"):
        read_model_folder(tmp_path)
