"""The benchmarks' prompt sets are as long as they say, by the default model's tokenizer."""

from pathlib import Path

import pytest
from bench.prompt_sets import conversations

from adapters.onnx.builder.gguf_source import GGUFSource
from adapters.onnx.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("short", [25]), ("long", [405]), ("shared_prefix", [500, 25]), ("conversation", [800, 35, 25])],
)
def test_prompts_have_about_the_tokens_that_they_are_named_for(
    name: str, lengths: list[int], smollm2_gguf: Path, tmp_path: Path
) -> None:
    GGUFSource(smollm2_gguf).write_tokenizer(tmp_path)
    tokenizer = Tokenizer(tmp_path)

    for messages in conversations(name, 8, "lengths"):
        counted = [len(tokenizer.encode(message["content"])) for message in messages]
        assert counted == [pytest.approx(length, rel=0.15) for length in lengths]
