"""The builder's graphs against an independent forward pass."""

import shutil
from itertools import product
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from adapters.onnx.kv_buffers import HostKVBuffers
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.prompt_lookup import DRAFT_LENGTHS
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession
from domain.errors import BackendError
from tests.checkpoints import (
    LLAMA,
    LLAMA_LONG,
    LLAMA_UNTIED,
    MISTRAL,
    QWEN2,
    QWEN2_WIDE_HEADS,
    TinyModel,
    write_gguf_checkpoint,
    write_safetensors_checkpoint,
)
from tests.reference_decoder import reference_logits

TOKEN_IDS = [int(i) for i in np.random.default_rng(3).integers(0, 256, 90)]


def opened(
    folder: Path,
    *,
    num_threads: int = 1,
    num_slots: int = 1,
    max_length: int = 128,
    reads_beside: bool = False,
    max_guesses: int = 0,
) -> OnnxSession:
    return OnnxSession(
        read_model_folder(folder),
        ProviderChoice.CPU,
        num_threads=num_threads,
        num_slots=num_slots,
        max_length=max_length,
        reads_beside=reads_beside,
        max_guesses=max_guesses,
    )


def built_logits(source: Path, folder: Path, precision: Precision = Precision.FP32) -> np.ndarray:
    """Prefill most of the tokens in two chunks and decode the rest one by one, as the engine does."""
    build_model_folder(source, folder, BuildOptions(precision=precision), SilentReporter())
    session = opened(folder)
    ids = np.array(TOKEN_IDS, np.int64)
    rows = [
        session.prefill(0, ids[:50], 0, num_logits=50),
        session.prefill(0, ids[50:80], 50, num_logits=30),
    ]
    rows += [session.decode(ids[i : i + 1], np.array([i], np.int64)).copy() for i in range(80, 90)]
    return np.concatenate(rows)


@pytest.mark.parametrize(
    "model",
    [LLAMA, LLAMA_UNTIED, LLAMA_LONG, MISTRAL, QWEN2, QWEN2_WIDE_HEADS],
    ids=["llama", "llama-untied", "llama-scaled-rope", "mistral", "qwen2", "qwen2-wide-heads"],
)
def test_fp32_logits_from_safetensors_agree_with_an_independent_forward_pass(
    model: TinyModel, tmp_path: Path
) -> None:
    weights = write_safetensors_checkpoint(model, tmp_path / "checkpoint")

    logits = built_logits(tmp_path / "checkpoint", tmp_path / "model")

    expected = reference_logits(model, weights, TOKEN_IDS)
    assert np.abs(expected).max() > 1  # logits that say something
    np.testing.assert_allclose(logits, expected, atol=1e-3)


@pytest.mark.parametrize("model", [LLAMA, LLAMA_UNTIED, QWEN2], ids=["llama", "llama-untied", "qwen2"])
def test_fp32_logits_from_gguf_agree_with_an_independent_forward_pass(
    model: TinyModel, tmp_path: Path
) -> None:
    weights = write_gguf_checkpoint(model, tmp_path / "tiny.gguf")

    logits = built_logits(tmp_path / "tiny.gguf", tmp_path / "model")

    np.testing.assert_allclose(logits, reference_logits(model, weights, TOKEN_IDS), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_checkpoints_in_several_files_are_read_exactly(tmp_path: Path, dtype: type) -> None:
    weights = write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint", num_files=3, dtype=dtype)

    logits = built_logits(tmp_path / "checkpoint", tmp_path / "model")

    np.testing.assert_allclose(logits, reference_logits(LLAMA, weights, TOKEN_IDS), atol=1e-3)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision.INT8_SMOOTH, 0.1), (Precision.INT8_BLOCK, 0.05), (Precision.INT4_BLOCK, 0.6)],
)
@pytest.mark.parametrize(
    "model", [LLAMA, LLAMA_UNTIED, MISTRAL, QWEN2], ids=["llama", "llama-untied", "mistral", "qwen2"]
)
def test_quantised_logits_stay_near_the_reference(
    model: TinyModel, tmp_path: Path, precision: Precision, tolerance: float
) -> None:
    weights = write_safetensors_checkpoint(model, tmp_path / "checkpoint")

    logits = built_logits(tmp_path / "checkpoint", tmp_path / "model", precision)

    expected = reference_logits(model, weights, TOKEN_IDS)
    relative_error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert 0 < relative_error < tolerance


def test_logits_come_for_as_many_of_the_last_positions_as_are_asked_for(tiny_folder: Path) -> None:
    session = opened(tiny_folder)
    ids = np.array(TOKEN_IDS, np.int64)

    every = session.prefill(0, ids, 0, num_logits=len(ids))

    assert every.shape == (len(ids), LLAMA.vocab_size)
    np.testing.assert_allclose(session.prefill(0, ids, 0), every[-1:], atol=1e-5)
    np.testing.assert_allclose(session.prefill(0, ids, 0, num_logits=7), every[-7:], atol=1e-5)


@pytest.mark.parametrize("precision", list(Precision))
def test_a_chunk_without_logits_is_read_all_the_same(tmp_path: Path, precision: Precision) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(precision), SilentReporter())
    session = opened(tmp_path / "model", num_slots=2)
    ids = np.array(TOKEN_IDS, np.int64)

    none = session.prefill(0, ids[:20], 0, num_logits=0)
    session.prefill(1, ids[:20], 0)

    assert none.shape == (0, LLAMA.vocab_size)
    expected = session.prefill(1, ids[20:40], 20).copy()
    np.testing.assert_array_equal(session.prefill(0, ids[20:40], 20), expected)


@pytest.mark.parametrize("num_rows", [1, 3])
@pytest.mark.parametrize("model", [LLAMA, MISTRAL, QWEN2_WIDE_HEADS], ids=["llama", "mistral", "wide-heads"])
def test_a_chunk_beside_rows_is_read_as_it_is_alone(tmp_path: Path, model: TinyModel, num_rows: int) -> None:
    write_safetensors_checkpoint(model, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(), SilentReporter())
    ids = np.array(TOKEN_IDS, np.int64)
    newest, lengths = ids[:num_rows], np.arange(10, 10 + num_rows)
    alone, together = (opened(tmp_path / "model", num_slots=4, reads_beside=True) for _ in range(2))
    for session in (alone, together):
        for slot in range(num_rows):
            session.prefill(slot, ids[slot : slot + 10 + slot], 0, num_logits=0)

    for start, end in ((0, 20), (20, 60), (60, 90)):
        num_logits = int(end == 90)
        expected_rows = alone.decode(newest, lengths).copy()
        expected_chunk = alone.prefill(3, ids[start:end], start, num_logits=num_logits)
        rows, chunk = together.decode_beside(
            newest, lengths, slot=3, chunk_ids=ids[start:end], num_past=start, num_logits=num_logits
        )
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(chunk, expected_chunk)
        newest, lengths = rows.argmax(axis=-1), lengths + 1

    np.testing.assert_array_equal(together.prefill(3, ids[:7], 90), alone.prefill(3, ids[:7], 90))


def test_a_chunk_may_go_to_a_slot_whose_row_nobody_reads(tmp_path: Path) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(), SilentReporter())
    session = opened(tmp_path / "model", num_slots=2, reads_beside=True)
    ids = np.array(TOKEN_IDS, np.int64)
    session.prefill(1, ids[:10], 0)
    expected = session.prefill(0, ids[:40], 0).copy()

    _, chunk = session.decode_beside(
        ids[:2], np.array([40, 10]), slot=0, chunk_ids=ids[:40], num_past=0, num_logits=1
    )

    np.testing.assert_array_equal(chunk, expected)


def test_a_slot_whose_memory_was_given_back_is_as_good_as_a_fresh_one(tiny_folder: Path) -> None:
    used, fresh = (opened(tiny_folder, num_slots=2, max_length=256) for _ in range(2))
    ids = np.array((TOKEN_IDS * 3)[:240], np.int64)
    for slot in range(2):
        used.prefill(slot, ids[::-1], 0)
    expected_neighbour = used.prefill(1, ids[:9], 230).copy()
    used.trim_slot(0, 60)

    for start, end in ((0, 50), (50, 240)):
        expected = fresh.prefill(0, ids[start:end], start)
        np.testing.assert_array_equal(used.prefill(0, ids[start:end], start), expected)
    np.testing.assert_array_equal(used.prefill(1, ids[:9], 230), expected_neighbour)


def test_a_little_memory_is_given_back_where_all_of_a_slots_is(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[tuple[int, int, int]] = []
    monkeypatch.setattr(HostKVBuffers, "trim_slot", lambda _, *slot: trimmed.append(slot))
    session = opened(tiny_folder, num_slots=2, max_length=256)
    session.prefill(1, np.array(TOKEN_IDS[:50], np.int64), 0)

    for slot, length in ((1, 20), (0, 0), (1, 0), (1, 0)):
        session.trim_slot(slot, length)

    assert trimmed == [(1, 0, 50)]


@pytest.mark.parametrize("num_guesses", DRAFT_LENGTHS)
@pytest.mark.parametrize("model", [LLAMA, MISTRAL, QWEN2_WIDE_HEADS], ids=["llama", "mistral", "wide-heads"])
def test_guesses_are_verified_to_the_bit_as_steps_would(
    tmp_path: Path, model: TinyModel, num_guesses: int
) -> None:
    write_safetensors_checkpoint(model, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(), SilentReporter())
    stepping, verifying = (
        opened(tmp_path / "model", num_threads=2, num_slots=2, max_guesses=max_guesses)
        for max_guesses in (0, num_guesses)
    )
    ids = np.array(TOKEN_IDS, np.int64)
    for session in (stepping, verifying):
        for slot in (0, 1):
            session.prefill(slot, ids[:30], 0)

    for slot, num_past in product((1, 0), range(30, 80, num_guesses + 1)):
        fed = ids[num_past : num_past + num_guesses + 1]
        steps = [stepping.prefill(slot, fed[i : i + 1], num_past + i)[0].copy() for i in range(len(fed))]
        np.testing.assert_array_equal(verifying.verify(slot, fed, num_past), np.array(steps))
    # without a graph for them they are read as a prompt is
    fed = ids[30 : 31 + num_guesses]
    many = stepping.prefill(0, fed, 30, num_logits=len(fed)).copy()
    np.testing.assert_array_equal(stepping.verify(0, fed, 30), many)


@pytest.mark.parametrize("precision", list(Precision))
def test_folders_for_cpus_alone_have_graphs_for_further_passes(tmp_path: Path, precision: Precision) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(precision), SilentReporter())
    folder = read_model_folder(tmp_path / "model")
    is_for_cpus = precision is Precision.INT8_SMOOTH

    asked, unasked = (opened(folder.path, reads_beside=reads_beside) for reads_beside in (True, False))

    assert asked.takes_chunks is is_for_cpus
    assert not unasked.takes_chunks
    assert sorted(folder.verify_files) == ([1 + length for length in DRAFT_LENGTHS] if is_for_cpus else [])
    token = np.array([1], np.int64)
    with pytest.raises(BackendError, match="no graph"):
        unasked.decode_beside(
            token, np.array([0], np.int64), slot=0, chunk_ids=token, num_past=0, num_logits=0
        )


def test_all_graphs_refer_to_the_same_laid_out_weights(tmp_path: Path) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", BuildOptions(), SilentReporter())
    folder = read_model_folder(tmp_path / "model")
    data_size = (tmp_path / "model" / "model.onnx.data").stat().st_size

    laid_out = [
        laid_out_of(onnx.load(file, load_external_data=False))
        for file in (folder.model_file, folder.beside_file, *folder.verify_files.values())
    ]

    assert {name.split(".")[-2] for name in laid_out[0]} == {"qkv", "o", "gate_up", "down", "head"}
    assert all(each == laid_out[0] for each in laid_out)
    for file in folder.verify_files.values():  # a number of rows in the graph would undo the tokens' order
        inputs = onnx.load(file, load_external_data=False).graph.input
        cached = [value.type.tensor_type.shape.dim for value in inputs if value.name.startswith("past")]
        assert all(dims[0].dim_param for dims in cached)
    for entry in laid_out[0].values():
        _, *parts = entry.split("|")
        for part in parts:
            offset, length, _ = map(int, part.split(";"))
            assert offset % 4096 == 0
            assert 0 < length <= data_size - offset


def laid_out_of(model: onnx.ModelProto) -> dict[str, str]:
    return {
        weight.name: entry.value
        for weight in model.graph.initializer
        for entry in weight.external_data
        if entry.key.startswith("prepacked")
    }


def test_a_runner_that_knows_nothing_of_it_gets_every_positions_logits(tiny_folder: Path) -> None:
    session = ort.InferenceSession(str(tiny_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    no_past = np.zeros((2, LLAMA.num_kv_heads, 0, LLAMA.head_dim), np.float32)
    fed = {node.name: no_past for node in session.get_inputs() if node.name.startswith("past")}
    fed["input_ids"] = np.array([TOKEN_IDS[:20], TOKEN_IDS[20:40]], np.int64)
    fed["attention_mask"] = np.ones((2, 20), np.int64)

    (every,) = session.run(["logits"], fed)
    (last,) = session.run(["logits"], {**fed, "logits_start": np.array([-2], np.int64)})

    assert "logits_start" not in {node.name for node in session.get_inputs()}
    assert every.shape == (2, 20, LLAMA.vocab_size)
    assert last.shape == (2, 2, LLAMA.vocab_size)
    np.testing.assert_allclose(last, every[:, -2:], atol=1e-5)


def test_a_graph_that_gives_every_position_is_cut_by_the_session(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    file = tmp_path / "model" / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    (cut,) = (node for node in model.graph.node if "logits_start" in node.input)
    cut.CopyFrom(onnx.helper.make_node("Identity", cut.input[:1], cut.output))
    for values in (model.graph.input, model.graph.initializer):
        values.remove(next(value for value in values if value.name == "logits_start"))
    file.write_bytes(model.SerializeToString())
    ids = np.array(TOKEN_IDS, np.int64)

    logits = [opened(folder).prefill(0, ids, 0, num_logits=3) for folder in (tmp_path / "model", tiny_folder)]

    assert logits[0].shape == (3, LLAMA.vocab_size)
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)


def test_hidden_states_are_what_the_head_reads(tmp_path: Path) -> None:
    weights = write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    options = BuildOptions(precision=Precision.FP32)
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", options, SilentReporter())
    session = opened(tmp_path / "model", num_slots=2)
    ids = np.array(TOKEN_IDS, np.int64)

    states = np.concatenate([session.hidden_states(1, ids[:50], 0), session.hidden_states(1, ids[50:], 50)])

    logits = states @ weights["model.embed_tokens.weight"].astype(np.float32).T  # the head is tied
    np.testing.assert_allclose(logits, reference_logits(LLAMA, weights, TOKEN_IDS), atol=1e-3)


def test_a_folder_without_hidden_states_says_so(tmp_path: Path) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    options = BuildOptions(precision=Precision.FP32, has_hidden_states=False)
    build_model_folder(tmp_path / "checkpoint", tmp_path / "model", options, SilentReporter())
    folder = read_model_folder(tmp_path / "model")
    session = opened(folder.path)

    assert folder.hidden_states_name is None
    with pytest.raises(BackendError, match="without hidden states"):
        session.hidden_states(0, np.array([1], np.int64), 0)
