"""Any Hugging Face checkpoint as an ONNX folder, by optimum: ``model export``, ``LLM_BACKEND=optimum``."""

import hashlib
from pathlib import Path

from adapters.onnx.builder import BuildReporter
from adapters.settings import DEFAULT_MODEL, Settings
from domain.errors import ConfigurationError
from entrypoints.model_source import PreparedModel


def export(source: str, destination: Path, settings: Settings, report: BuildReporter) -> None:
    """Export a checkpoint, unless the destination holds an exported model already.

    Raises:
        ConfigurationError: the extra ``optimum`` is not installed, or the export failed.
    """
    try:
        from adapters.optimum import export_model  # noqa: PLC0415 - torch is not in the serving environment
    except ImportError as error:
        raise ConfigurationError(
            f"optimum is not installed (see the README for the extra 'optimum'): {error.name} is missing",
        ) from error
    token = settings.hugging_face_hub_token
    export_model(source, destination, token=token.get_secret_value() if token else None, report=report)


def prepare_export(settings: Settings, report: BuildReporter) -> PreparedModel:
    """Return the exported model that ``LLM_MODEL`` names, after exporting it into the cache if need be.

    Raises:
        ConfigurationError: the extra ``optimum`` is not installed, or the export failed.
    """
    if settings.model == DEFAULT_MODEL:
        raise ConfigurationError(
            "LLM_BACKEND=optimum needs LLM_MODEL: an exported folder, a checkpoint folder or a Hub name"
        )
    folder = Path(settings.model).expanduser()
    if folder.is_dir() and any(folder.glob("*.onnx")):
        return PreparedModel(folder, folder.name)
    is_local = folder.is_dir()
    source = str(folder.resolve()) if is_local else settings.model
    name = f"{Path(source).name}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    destination = settings.cache_folder / "exports" / name
    export(source, destination, settings, report)
    return PreparedModel(destination, folder.name if is_local else settings.model)
