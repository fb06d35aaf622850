"""Workflows that a node's rules are tried on."""

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from pydantic import BaseModel

from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow
from domain.workflows.summarizer import AveragedVectorRequest


class WordCount(LLMInferenceWorkflow):
    """Replies with an object."""

    async def postprocess(self, generation: Any, request: LLMRequest) -> dict[str, Any]:
        return {"text": generation.text, "words": len(generation.text.split())}


class Halving(LLMInferenceWorkflow):
    """Gives a vector to the next of a chain."""

    request_type: ClassVar[type[BaseModel]] = AveragedVectorRequest

    async def preprocess(self, request: AveragedVectorRequest) -> list[int]:
        return request.vector

    async def generate(self, prompt: list[int]) -> list[int]:
        return [number // 2 for number in prompt]

    async def postprocess(self, generation: list[int], request: AveragedVectorRequest) -> dict[str, Any]:
        return {"vector": generation}


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
