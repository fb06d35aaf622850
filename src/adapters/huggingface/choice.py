"""Which files of a Hub repository make a model that this service can run. Pure: works on a list of names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from domain.errors import ConfigurationError

GENAI_CONFIG = "genai_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)
GGUF_PREFERENCE = ("Q8_0", "F16", "BF16", "F32", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0")
"""Closest to the original first, but not larger than it need be for 8-bit blocks."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What to fetch, and where in the repository the model then lies."""

    files: tuple[str, ...]
    entry: str
    """A folder (``.`` for the repository itself) or a GGUF file."""


def choose_files(repository: str, files: Sequence[str], gguf_file: str | None = None) -> ModelFiles:
    """Choose a ready GenAI folder, else safetensors, else a GGUF file.

    Args:
        repository: its name, for the error.
        files: the paths in it.
        gguf_file: the file that the user named.

    Raises:
        ConfigurationError: there is nothing to run in it, or the named file is not there.
    """
    if gguf_file is not None:
        if gguf_file not in files:
            raise ConfigurationError(f"the repository {repository} has no file {gguf_file}")
        return ModelFiles((gguf_file,), gguf_file)
    return _genai_folder(files) or _safetensors(files) or _gguf(files) or _nothing_usable(repository)


def _genai_folder(files: Sequence[str]) -> ModelFiles | None:
    folders = [PurePosixPath(file).parent for file in files if PurePosixPath(file).name == GENAI_CONFIG]
    if not folders:
        return None
    # folders for CPUs run everywhere; the name with fewer parts is the more general one
    folder = min(folders, key=lambda f: ("cpu" not in str(f).lower(), len(f.parts), str(f)))
    inside = tuple(file for file in files if PurePosixPath(file).parent == folder)
    return ModelFiles(inside, str(folder))


def _safetensors(files: Sequence[str]) -> ModelFiles | None:
    weights = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    if not weights or "config.json" not in files or "tokenizer.json" not in files:
        return None
    present = [name for name in ("config.json", *TOKENIZER_FILES) if name in files]
    return ModelFiles((*present, *weights), ".")


def _gguf(files: Sequence[str]) -> ModelFiles | None:
    candidates = [file for file in files if file.endswith(".gguf") and "-of-" not in file]
    if not candidates:
        return None
    best = min(candidates, key=lambda file: (_rank(file), file))
    return ModelFiles((best,), best)


def _rank(file: str) -> int:
    name = file.upper()
    matches = (rank for rank, kind in enumerate(GGUF_PREFERENCE) if kind in name)
    return next(matches, len(GGUF_PREFERENCE))


def _nothing_usable(repository: str) -> ModelFiles:
    raise ConfigurationError(
        f"the repository {repository} has no ONNX Runtime GenAI folder, no safetensors with a tokenizer.json "
        "and no single-file GGUF: try `llm-inference-service model export`",
    )
