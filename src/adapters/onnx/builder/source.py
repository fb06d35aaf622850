"""What the builder reads a model from."""

from pathlib import Path
from typing import Protocol

from adapters.onnx.builder.architecture import DecoderConfig, Floats


class ModelSource(Protocol):
    """A checkpoint in some file format, under our names of its weights."""

    @property
    def config(self) -> DecoderConfig:
        """The model's shape."""
        ...

    def weight(self, name: str, layer: int | None = None) -> Floats:
        """Return a weight as ``float32``, shaped as ``weight_shape`` tells.

        Raises:
            ConfigurationError: it is missing, broken or has another shape.
        """
        ...

    def write_tokenizer(self, folder: Path) -> None:
        """Write ``tokenizer.json``, ``tokenizer_config.json`` and the chat template into a folder."""
        ...
