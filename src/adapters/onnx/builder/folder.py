"""Builds a model folder from a checkpoint, once: safe to interrupt, to repeat, and to start twice at a time.

The folder grows beside its place as ``NAME.partial`` and is renamed when its manifest, the last file, is
written. A lock file keeps a second builder waiting; it then finds the work done.
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from adapters.manifest import MANIFEST_NAME, Manifest, describe_files, read_manifest, write_manifest
from adapters.onnx.builder.options import BuildOptions, Precision
from adapters.onnx.builder.report import BuildReporter
from domain.errors import ConfigurationError

if TYPE_CHECKING:
    from adapters.onnx.builder.source import ModelSource

FORMAT_VERSION = 11
"""Raised when the builder writes other graphs, so that folders built before are built again."""
MODEL_FILE = "model.onnx"
INT4_WARNING = (
    "int4_block rounds weights to nearest: a small model loses much of its quality (SmolLM2-135M: 40 % of "
    "its perplexity); measure with `llm-inference-service model perplexity`, or use int8_block"
)


def build_model_folder(source: Path, destination: Path, options: BuildOptions, report: BuildReporter) -> None:
    """Build a model folder, unless the destination already is this source with these options.

    Args:
        source: a GGUF file, or a folder with ``config.json`` and safetensors.
        destination: the folder to make; its parents are made too.
        options: how to store the weights.
        report: shown the progress.

    Raises:
        ConfigurationError: the source cannot be read or is not of a known architecture, the destination is
            something else, or the disk is full.
    """
    if Precision.INT4_BLOCK in {
        options.precision,
        options.precision_of_head,
        options.embedding_precision,
    }:
        report.warn(INT4_WARNING)
    origin = _origin(source, options)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(destination.with_name(destination.name + ".lock")):
            if _holds(destination, origin):
                return
            _build(source, destination, options, origin, report)
    except OSError as error:
        raise ConfigurationError(f"{destination} cannot be built: {error.strerror or error}") from error


def is_built(source: Path, destination: Path, options: BuildOptions) -> bool:
    """Tell whether ``build_model_folder`` has nothing to do.

    Raises:
        ConfigurationError: the source cannot be read, or the destination is something else.
    """
    return _holds(destination, _origin(source, options))


def is_model_folder(path: Path) -> bool:
    """Tell whether a folder is of ONNX Runtime GenAI's format."""
    return (path / "genai_config.json").is_file()


def _build(
    source: Path, destination: Path, options: BuildOptions, origin: dict[str, Any], report: BuildReporter
) -> None:
    # heavy imports only where something is built
    from adapters.onnx.builder.calibration import calibrate  # noqa: PLC0415
    from adapters.onnx.builder.decoder import write_decoder  # noqa: PLC0415
    from adapters.onnx.builder.genai_config import genai_config  # noqa: PLC0415
    from adapters.onnx.builder.pass_graphs import write_pass_graphs  # noqa: PLC0415

    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    checkpoint = open_source(source)
    partial.mkdir()
    num_layers = checkpoint.config.num_layers
    try:
        checkpoint.write_tokenizer(partial)
        smoothing = None
        if options.precision is Precision.INT8_SMOOTH:
            report.start(f"calibrating {destination.name}", num_layers)
            smoothing = calibrate(checkpoint, partial, report)
        report.start(f"building {destination.name}", num_layers + 3)
        data_path = partial / f"{MODEL_FILE}.data"
        with data_path.open("wb") as data_file:
            write_decoder(checkpoint, partial / MODEL_FILE, data_file, options, report, smoothing=smoothing)
        if options.has_pass_graphs:
            write_pass_graphs(partial / MODEL_FILE, data_path)
        config = genai_config(checkpoint.config, MODEL_FILE, has_hidden_states=options.has_hidden_states)
        (partial / "genai_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        files = describe_files(partial)
        write_manifest(partial, Manifest(FORMAT_VERSION, origin, _versions(), files))
        report.advance()
        if destination.exists():
            shutil.rmtree(destination)
        partial.rename(destination)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        report.finish()


def open_source(source: Path) -> "ModelSource":
    """Open a checkpoint by what it looks like.

    Raises:
        ConfigurationError: it is neither a GGUF file nor a safetensors folder, or is broken.
    """
    from adapters.onnx.builder.gguf_source import GGUFSource  # noqa: PLC0415
    from adapters.onnx.builder.safetensors_source import SafetensorsSource  # noqa: PLC0415

    if source.is_file():
        return GGUFSource(source)
    if (source / "config.json").is_file():
        return SafetensorsSource(source)
    raise ConfigurationError(f"{source} is neither a GGUF file nor a folder with config.json and safetensors")


def _origin(source: Path, options: BuildOptions) -> dict[str, Any]:
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    if not facts:
        raise ConfigurationError(f"{source} holds no model")
    return {
        "source": source.name,
        "fingerprint": hashlib.sha256(repr(facts).encode()).hexdigest(),
        "options": json.loads(json.dumps(asdict(options))),
    }


def _holds(destination: Path, origin: dict[str, Any]) -> bool:
    if not destination.exists():
        return False
    manifest = read_manifest(destination)
    if manifest is None and any(destination.iterdir()):
        raise ConfigurationError(f"{destination} exists and has no {MANIFEST_NAME}: choose another place")
    return manifest is not None and (manifest.format_version, manifest.origin) == (FORMAT_VERSION, origin)


def _versions() -> dict[str, str]:
    import onnxruntime  # noqa: PLC0415 - heavy; its distributions have several names

    versions = {name: version(name) for name in ("llm-inference-service", "onnx", "numpy")}
    return {**versions, "onnxruntime": onnxruntime.__version__}
