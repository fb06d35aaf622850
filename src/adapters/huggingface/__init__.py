"""Fetches models from the Hugging Face Hub."""

from adapters.huggingface.hub import fetch_model

__all__ = ["fetch_model"]
