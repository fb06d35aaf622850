"""Any Hugging Face checkpoint that optimum can export to ONNX. Needs the extra ``optimum`` (torch)."""

from adapters.optimum.export import export_model, is_exported
from adapters.optimum.generator import OptimumTextGenerator

__all__ = ["OptimumTextGenerator", "export_model", "is_exported"]
