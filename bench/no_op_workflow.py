"""A workflow that returns what it is sent: what is left is the service's own work."""

from typing import Any

from domain.workflow import LLMInferenceWorkflow


class NoOpWorkflow(LLMInferenceWorkflow):
    """Answers with the text of the request."""

    async def preprocess(self, request: Any) -> Any:
        return request.text

    async def generate(self, prompt: Any) -> Any:
        return prompt

    async def postprocess(self, generation: Any, request: Any) -> Any:  # noqa: ARG002 - the hook's signature
        return generation
