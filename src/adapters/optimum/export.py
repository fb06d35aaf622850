"""``export_model``: a Hugging Face checkpoint becomes an ONNX folder, by optimum and torch."""

import shutil
from pathlib import Path
from typing import Protocol

from optimum.onnxruntime import ORTModelForCausalLM
from transformers import AutoTokenizer

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

    The folder appears when it is complete; one that is there is left alone.

    Args:
        source: a Hub name, or a folder with a checkpoint.
        destination: the folder to make.
        token: for private and gated repositories.
        report: shown the progress.

    Raises:
        ConfigurationError: the checkpoint cannot be had, or optimum cannot export its architecture.
    """
    if destination.exists():
        raise ConfigurationError(f"{destination} exists already: choose another place")
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    report.start(f"exporting {Path(source).name}", 3)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, token=token)
        report.advance()
        model = ORTModelForCausalLM.from_pretrained(source, export=True, use_io_binding=False, token=token)
        report.advance()
        partial.mkdir(parents=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(destination)
        report.advance()
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ConfigurationError(f"{source} cannot be exported: {_first_line(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        report.finish()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
