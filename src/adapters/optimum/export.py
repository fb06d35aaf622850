"""``export_model``: a Hugging Face checkpoint becomes an ONNX folder, by optimum and torch."""

import shutil
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from optimum.exporters.onnx import main_export

from domain.errors import ConfigurationError


class ExportReporter(Protocol):
    """Told how far the export has come."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Some steps are done."""
        ...

    def finish(self) -> None:
        """The last stage is over."""
        ...


def export_model(source: str, destination: Path, *, token: str | None, report: ExportReporter) -> None:
    """Export a checkpoint, with its tokenizer, into a folder that ``OptimumTextGenerator`` opens.

    The folder appears when it is complete; one that is there is left alone. A second process that exports
    to the same place waits for the first.

    Args:
        source: a Hub name, or a folder with a checkpoint.
        destination: the folder to make; its parents are made too.
        token: for private and gated repositories.
        report: shown the progress.

    Raises:
        ConfigurationError: the checkpoint cannot be had, or optimum cannot export its architecture.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(destination.with_name(destination.name + ".lock")):
        if not is_exported(destination):
            _export(source, destination, token, report)


def is_exported(folder: Path) -> bool:
    """Tell whether a folder holds an exported model."""
    return (folder / "config.json").is_file() and any(folder.glob("*.onnx"))


def _export(source: str, destination: Path, token: str | None, report: ExportReporter) -> None:
    if destination.exists():
        raise ConfigurationError(f"{destination} exists and is no exported model: choose another place")
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    report.start(f"exporting {Path(source).name} with optimum", 1)
    try:
        main_export(source, partial, task="text-generation-with-past", token=token, do_validation=False)
        partial.rename(destination)
        report.advance()
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ConfigurationError(f"{source} cannot be exported: {_first_line(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        report.finish()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
