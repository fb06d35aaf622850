"""The default workflow: the conversation goes to the model, the raw answer comes back as a string."""

from domain.conversation import conversation_of
from domain.messages import Prompt
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow


class ChatWorkflow(LLMInferenceWorkflow):
    """Answers a message.

    Args:
        system_prompt: opens every conversation; None leaves that to the model's chat template.
    """

    def __init__(self, system_prompt: str | None = None) -> None:
        self._system_prompt = system_prompt

    async def preprocess(self, request: LLMRequest) -> Prompt:
        return Prompt(
            conversation_of(request, self._system_prompt),
            self.ports.default_parameters.overridden_by(request.parameters),
        )
