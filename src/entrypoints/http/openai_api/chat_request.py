"""The body of ``POST /v1/chat/completions``."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from domain.errors import FieldProblem, InvalidRequestError
from domain.generation import MAX_ANSWER_TOKENS, MAX_TOP_LOGPROBS, WHOLE
from domain.messages import ChatMessage, Prompt, Role
from entrypoints.http.openai_api.sampling_fields import (
    FORM_RULES,
    LENGTH_RULE,
    STREAM_RULE,
    Fields,
    NeverOff,
    NotOffered,
    SamplingFields,
    repeated,
    required_with,
)

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def _as_parts(content: Any) -> Any:
    match content:
        case str():
            return [{"type": "text", "text": content}]
        case list():
            return content
        case _:
            raise PydanticCustomError("content", "should be a string or a list of text parts")


def _text_alone(modalities: Any) -> Any:
    if modalities not in (None, ["text"]):
        raise PydanticCustomError("not_supported", "text is all that there is")
    return modalities


class TextPart(Fields):
    """A part of a message."""

    type: Literal["text"]
    text: str


class MessageFields(Fields):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        list[TextPart],
        Field(fail_fast=True),
        BeforeValidator(_as_parts, json_schema_input_type=str | list[TextPart]),
    ]
    tool_calls: NotOffered = None
    function_call: NotOffered = None

    def message(self) -> ChatMessage:
        """Return it as the domain's; its parts are joined by line ends, as in vLLM."""
        return ChatMessage(ROLES[self.role], "\n".join(part.text for part in self.content))


LOGPROBS_RULE = required_with("top_logprobs", {"type": "integer", "minimum": 1}, "logprobs", {"const": True})


class ChatRequest(SamplingFields):
    """What to answer, and how."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [STREAM_RULE, LENGTH_RULE, LOGPROBS_RULE, *FORM_RULES]}
    )

    prompt_field = "messages"

    messages: Annotated[list[MessageFields], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_ANSWER_TOKENS), WHOLE] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS), WHOLE] | None = None
    tools: NotOffered = None
    functions: NotOffered = None
    audio: NotOffered = None
    add_generation_prompt: NeverOff = None
    continue_final_message: NotOffered = None
    add_special_tokens: NotOffered = None
    chat_template: NotOffered = None
    chat_template_kwargs: NotOffered = None
    documents: NotOffered = None
    modalities: Annotated[Any, AfterValidator(_text_alone), WithJsonSchema({"enum": [None, ["text"]]})] = None

    def prompts(self, default_max_tokens: int | None) -> list[Prompt]:
        """Return what to ask of the model, a prompt for each choice.

        Raises:
            InvalidRequestError: names the field that is wrong.
        """
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequestError(FieldProblem("top_logprobs", "needs logprobs to be true"))
        parameters = self.parameters(
            max_tokens=self.max_completion_tokens or self.max_tokens or default_max_tokens,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        messages = [fields.message() for fields in self.messages]
        return repeated([Prompt(messages, parameters, priority=self.priority or 0)], self.num_choices)
