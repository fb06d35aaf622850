"""Weights as ONNX Runtime lays them out for this processor, kept in the data file beside the plain ones.

A session lays its weights out as it loads, in memory of its own. Where the data file has them so, it maps
the file: sessions of several graphs on the same weights share one copy. ONNX Runtime compares hashes, and on
a processor that wants another layout it goes on as if there were none.

The form is that of ``session.save_external_prepacked_constant_initializers``. An entry of a tensor's external
data reads ``prepacked_N = OPERATOR+HASH|OFFSET;LENGTH;CHECKSUM``, with a ``|OFFSET;LENGTH;CHECKSUM`` for each
further part (``onnxruntime/core/framework/tensor_external_data_info.cc``).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import onnx
import onnxruntime as ort

from adapters.onnx.builder.graph import append_aligned
from domain.errors import ConfigurationError

ENTRY = "prepacked"
ERRORS_ALONE = 3
"""ONNX Runtime's log level; it warns that what it saves is for this processor."""


def prepack(model_file: Path, data_file: Path) -> onnx.ModelProto:
    """Append laid-out weights to a model's data file, and note in the model where they are.

    Returns:
        The model as it was written, without its weights.

    Raises:
        ConfigurationError: ONNX Runtime cannot load the model, or save what it makes of it.
    """
    model = onnx.load(model_file, load_external_data=False)
    with TemporaryDirectory(dir=model_file.parent) as folder:
        saved_file, saved_data_file = Path(folder) / model_file.name, Path(folder) / data_file.name
        _save_laid_out(model_file, saved_file, saved_data_file)
        saved = onnx.load(saved_file, load_external_data=False)
        laid_out = {weight.name: weight.external_data for weight in saved.graph.initializer}
        with saved_data_file.open("rb") as source, data_file.open("ab") as target:
            for weight in model.graph.initializer:
                for entry in laid_out.get(weight.name, ()):
                    if entry.key.startswith(ENTRY):
                        weight.external_data.add(key=entry.key, value=_moved(entry.value, source, target))
    model_file.write_bytes(model.SerializeToString())
    return model


def _save_laid_out(model_file: Path, saved_file: Path, saved_data_file: Path) -> None:
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    options.optimized_model_filepath = str(saved_file)
    for name, value in (
        ("session.optimized_model_external_initializers_file_name", saved_data_file.name),
        ("session.optimized_model_external_initializers_min_size_in_bytes", "0"),
        ("session.save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(name, value)
    try:
        ort.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        raise ConfigurationError(f"ONNX Runtime cannot lay out {model_file}: {error}") from error


def _moved(value: str, source: BinaryIO, target: BinaryIO) -> str:
    """Copy the parts that an entry names; returns the entry for where they are now."""
    key, *parts = value.split("|")
    entry = [key]
    for part in parts:
        offset, length, checksum = part.split(";")
        source.seek(int(offset))
        place = append_aligned(target, source.read(int(length)))
        entry.append(f"{place};{length};{checksum}")
    return "|".join(entry)
