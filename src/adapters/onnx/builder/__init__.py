"""Builds model folders of ONNX Runtime GenAI's format from GGUF and safetensors, without torch."""

from adapters.onnx.builder.folder import build_model_folder, is_built, is_model_folder
from adapters.onnx.builder.options import BuildOptions, Precision
from adapters.onnx.builder.report import BuildReporter, SilentReporter, TqdmReporter

__all__ = [
    "BuildOptions",
    "BuildReporter",
    "Precision",
    "SilentReporter",
    "TqdmReporter",
    "build_model_folder",
    "is_built",
    "is_model_folder",
]
