"""Text generation by any server that speaks OpenAI's HTTP API: vLLM, TGI, llama.cpp, Ray Serve and others."""

from adapters.openai_http.generator import OpenAITextGenerator

__all__ = ["OpenAITextGenerator"]
