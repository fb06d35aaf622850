"""Workflows that a node's rules are tried on."""

from collections.abc import AsyncGenerator
from typing import Any

from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow


class WordCount(LLMInferenceWorkflow):
    """Replies with an object."""

    async def postprocess(self, generation: Any, request: LLMRequest) -> dict[str, Any]:
        return {"text": generation.text, "words": len(generation.text.split())}


class Raising(LLMInferenceWorkflow):
    """Fails at once."""

    def preprocess(self, request: LLMRequest) -> Any:
        raise RuntimeError("out of order")


class BreakingOff(LLMInferenceWorkflow):
    """Fails in the middle of a stream."""

    async def stream(self, prompt: Any) -> AsyncGenerator[str]:
        yield "one "
        yield "two"
        raise RuntimeError("out of order")
