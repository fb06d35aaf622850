"""The body of ``POST /v1/completions``."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from domain.errors import FieldProblem, InvalidRequestError
from domain.generation import MAX_TOP_LOGPROBS, WHOLE
from domain.messages import Prompt
from entrypoints.http.openai_api.sampling_fields import (
    FORM_RULES,
    LENGTH_RULE,
    STREAM_RULE,
    NeverOff,
    NotOffered,
    SamplingFields,
    repeated,
)

MAX_PROMPTS = 64
MAX_ANSWERS = 128
"""Of all prompts together."""


def as_texts(value: Any) -> Any:
    """Return a text, or a list of some, as a list; token ids are refused."""
    match value:
        case str():
            return [value]
        case [int() | [*_], *_]:
            raise PydanticCustomError("token_ids", "token ids are not supported: send text")
        case [*_]:
            return value
        case _:
            raise PydanticCustomError("texts", "should be a string or a list of strings")


SomeText = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]
"""The backend says what it misses in an empty one."""

Prompts = Annotated[list[SomeText], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
AT_MOST_ONE = WithJsonSchema({"anyOf": [{"type": "integer", "maximum": 1}, {"type": "null"}]})


def _one(best_of: int | None) -> int | None:
    if best_of is not None and best_of > 1:
        raise PydanticCustomError("not_supported", "is not supported by this service")
    return best_of


class CompletionRequest(SamplingFields):
    """What to go on with, and how."""

    model_config = ConfigDict(json_schema_extra={"allOf": [STREAM_RULE, LENGTH_RULE, *FORM_RULES]})

    prompt_field = "prompt"

    prompt: Annotated[Prompts, BeforeValidator(as_texts, json_schema_input_type=SomeText | Prompts)]
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS), WHOLE] | None = None
    best_of: Annotated[int | None, AfterValidator(_one), WHOLE, AT_MOST_ONE] = None
    suffix: NotOffered = None
    add_special_tokens: NeverOff = None

    def prompts(self, default_max_tokens: int | None) -> list[Prompt]:
        """Return what to ask of the model: for each prompt, in their order, one for each choice.

        Raises:
            InvalidRequestError: names the field that is wrong.
        """
        if len(self.prompt) * self.num_choices > MAX_ANSWERS:
            raise InvalidRequestError(FieldProblem("n", f"prompts times n is more than {MAX_ANSWERS}"))
        parameters = self.parameters(
            max_tokens=self.max_tokens or default_max_tokens, top_logprobs=self.logprobs
        )
        prompts = [Prompt((), parameters, text, self.priority or 0) for text in self.prompt]
        return repeated(prompts, self.num_choices)
