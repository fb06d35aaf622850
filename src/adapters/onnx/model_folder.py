"""Reads a model folder of ONNX Runtime GenAI's format: where the graph is, and the shapes it wants."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domain.errors import ConfigurationError

BESIDE_FILE = "beside.onnx"
"""A graph on the model's weights that decodes rows and reads a chunk of a prompt in one pass."""
CHUNK_SPLIT = "chunk_split"
"""Its ``int64[2]``: the tokens of the chunk, and the rows behind it."""
CHUNK_TOTAL = "chunk_total"
"""Its ``int64[1]``: the tokens in the chunk's slot once it is read."""
CHUNK_NAME = "chunk.%s"
"""Its names of the chunk's keys and values, by those of the rows'."""
VERIFY_FILE = "verify_%d.onnx"
"""A graph on the model's weights that takes so many tokens of a slot as decode steps would."""
VERIFIED_NAME = "%s.%d"
"""Its names of a token's keys and values, by those of the model's."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What the engine needs to know of a model folder."""

    path: Path
    model_file: Path
    context_length: int
    vocab_size: int
    num_layers: int
    num_kv_heads: int
    head_dim: int
    eos_token_ids: frozenset[int]
    past_key_name: str
    past_value_name: str
    present_key_name: str
    present_value_name: str
    """Names with ``%d`` for the layer."""
    hidden_states_name: str | None
    """None where the graph does not give its hidden states."""
    beside_file: Path | None = None
    verify_files: Mapping[int, Path] = field(default_factory=dict)
    """By the number of tokens."""


def read_model_folder(path: Path) -> ModelFolder:
    """Read ``genai_config.json``.

    Raises:
        ConfigurationError: it is missing, broken, or describes what this engine cannot run.
    """
    config_file = path / "genai_config.json"
    try:
        model = json.loads(config_file.read_text(encoding="utf-8"))["model"]
        decoder = model["decoder"]
        folder = ModelFolder(
            path=path,
            model_file=path / decoder["filename"],
            context_length=int(model["context_length"]),
            vocab_size=int(model["vocab_size"]),
            num_layers=int(decoder["num_hidden_layers"]),
            num_kv_heads=int(decoder["num_key_value_heads"]),
            head_dim=int(decoder["head_size"]),
            eos_token_ids=_token_ids(model["eos_token_id"]),
            past_key_name=decoder["inputs"]["past_key_names"],
            past_value_name=decoder["inputs"]["past_value_names"],
            present_key_name=decoder["outputs"]["present_key_names"],
            present_value_name=decoder["outputs"]["present_value_names"],
            hidden_states_name=decoder["outputs"].get("hidden_states"),
            beside_file=path / BESIDE_FILE if (path / BESIDE_FILE).is_file() else None,
            verify_files=_verify_files(path),
        )
    except OSError as error:
        raise ConfigurationError(f"{path} is not a model folder: genai_config.json cannot be read") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"genai_config.json in {path} is broken or of an unknown form: {error!r}"
        ) from error
    if not folder.model_file.is_file():
        raise ConfigurationError(f"{path} is not complete: {folder.model_file.name} is missing")
    return folder


def _verify_files(path: Path) -> dict[int, Path]:
    before, behind = VERIFY_FILE.split("%d")
    numbers = {file: file.name[len(before) : -len(behind)] for file in path.glob(f"{before}*{behind}")}
    return {int(number): file for file, number in numbers.items() if number.isdecimal()}


def _token_ids(value: Any) -> frozenset[int]:
    return frozenset(map(int, value)) if isinstance(value, list) else frozenset({int(value)})
