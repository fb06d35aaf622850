"""Which files of a Hub repository are fetched."""

import pytest

from adapters.huggingface.choice import choose_files
from domain.errors import ConfigurationError

SAFETENSORS = ["config.json", "tokenizer.json", "model-1.safetensors", "model-2.safetensors", "README.md"]


def test_a_ready_genai_folder_goes_first_and_the_cpu_one_among_several() -> None:
    files = [
        *SAFETENSORS,
        "gpu/int4/genai_config.json",
        "gpu/int4/model.onnx",
        "cpu_and_mobile/int4/genai_config.json",
        "cpu_and_mobile/int4/model.onnx",
        "cpu_and_mobile/int4/model.onnx.data",
    ]

    chosen = choose_files("o/r", files)

    assert chosen.entry == "cpu_and_mobile/int4"
    assert set(chosen.files) == {f for f in files if f.startswith("cpu_and_mobile")}


def test_safetensors_go_before_gguf_and_bring_only_what_is_needed() -> None:
    chosen = choose_files("o/r", [*SAFETENSORS, "r.Q8_0.gguf", "pytorch_model.bin"])

    assert chosen.entry == "."
    assert set(chosen.files) == set(SAFETENSORS) - {"README.md"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["r.Q4_0.gguf", "r.Q8_0.gguf", "r.F16.gguf"], "r.Q8_0.gguf"),
        (["r.IQ2_XS.gguf", "r.Q4_1.gguf"], "r.Q4_1.gguf"),
        (["q8/r-Q8_0-00001-of-00002.gguf", "r-q6_k.gguf"], "r-q6_k.gguf"),
    ],
)
def test_of_several_gguf_files_the_closest_to_the_original(files: list[str], expected: str) -> None:
    assert choose_files("o/r", files).entry == expected


def test_a_named_gguf_file_is_taken() -> None:
    assert choose_files("o/r", ["a.gguf", "b.gguf"], "b.gguf").files == ("b.gguf",)


def test_a_named_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no file c\.gguf"):
        choose_files("o/r", ["a.gguf"], "c.gguf")


def test_a_repository_with_nothing_to_run_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="model export"):
        choose_files("o/r", ["pytorch_model.bin", "config.json", "tokenizer.json"])
