"""``model export``: any Hugging Face checkpoint as an ONNX folder, by optimum."""

from pathlib import Path

from adapters.onnx.build import TqdmReporter
from adapters.settings import Settings
from domain.errors import ConfigurationError


def export(source: str, destination: Path, settings: Settings) -> None:
    """Export a checkpoint.

    Raises:
        ConfigurationError: the extra ``optimum`` is not installed, or the export failed.
    """
    try:
        from adapters.optimum import export_model  # noqa: PLC0415 - torch is not in the serving environment
    except ImportError as error:
        raise ConfigurationError(
            f"`model export` needs the extra 'optimum' (see the README): {error.name} is not installed",
        ) from error
    token = settings.hugging_face_hub_token
    export_model(
        source, destination, token=token.get_secret_value() if token else None, report=TqdmReporter()
    )
