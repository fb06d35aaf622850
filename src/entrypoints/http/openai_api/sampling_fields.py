"""What the bodies of chat and completion requests have in common: how to sample, and in which form."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import pydantic_core
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from domain.constraints import ChoiceText, Grammar, OutputConstraint, Regex
from domain.errors import FieldProblem, InvalidRequestError
from domain.generation import (
    MAX_ANSWER_TOKENS,
    MAX_STOP_SEQUENCES,
    MAX_TOP_K,
    MIN_REPETITION_PENALTY,
    WHOLE,
    SamplingParameters,
    StopSequence,
)
from domain.messages import Prompt
from domain.validation import validated

MAX_CHOICES = 16
MAX_SEED = 2**63
OPENAI_TEMPERATURE = 1.0
ANY_OBJECT = {"type": "object"}
JSON = "json_schema"
"""The field of ``OutputConstraint``."""
CONVERSATION_FIELD, CONSTRAINT_FIELD = "data.history", "constraint"
"""Names in backends' refusals: what a workflow's caller would have sent."""


def _refused_if(is_refused: Callable[[Any], bool]) -> AfterValidator:
    def checked(value: Any) -> Any:
        if is_refused(value):
            raise PydanticCustomError("not_supported", "is not supported by this service")
        return value

    return AfterValidator(checked)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


NotOffered = Annotated[
    Any,
    _refused_if(bool),
    WithJsonSchema({"enum": [None, False, 0, "", [], {}], "description": "not offered"}),
]
"""A field that would change the answer and that the service cannot honour; empty ones pass."""

NeverOff = Annotated[
    Any,
    _refused_if(lambda value: value is not None and value is not True),
    WithJsonSchema({"enum": [None, True], "description": "always so"}),
]
"""One that could only switch off what the service always does."""

NeverGiven = Annotated[
    Any,
    _refused_if(lambda value: value is not None),
    WithJsonSchema({"enum": [None], "description": "not offered"}),
]
"""One that means something whatever its value, 0 included."""

Choices = Annotated[list[ChoiceText], Field(min_length=1, fail_fast=True)]
JsonText = Annotated[str, Field(json_schema_extra={"format": "json"})]


StopList = Annotated[list[StopSequence], Field(max_length=MAX_STOP_SEQUENCES, fail_fast=True)]
StopSequences = Annotated[StopList, BeforeValidator(_listed, json_schema_input_type=StopSequence | StopList)]


def required_with(
    field: str, value: dict[str, Any], other: str, other_value: dict[str, Any]
) -> dict[str, Any]:
    """Return the JSON schema of: where ``field`` is ``value``, ``other`` must be ``other_value``."""
    return {
        "if": {"properties": {field: value}, "required": [field]},
        "then": {"properties": {other: other_value}, "required": [other]},
    }


def at_most_one_of(conditions: dict[str, dict[str, Any]]) -> list[Any]:
    """Return JSON schemas of: no two fields meet their conditions."""
    return [
        {"not": {"properties": dict(pair), "required": [name for name, _ in pair]}}
        for pair in combinations(conditions.items(), 2)
    ]


class Fields(BaseModel):
    """A body, or a part of one: types are strict, a null is as good as absent, unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class StreamOptions(Fields):
    """What a stream holds."""

    include_usage: bool | None = None
    continuous_usage_stats: NotOffered = None


class JsonSchema(Fields):
    """The JSON schema of a response format."""

    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Fields):
    """OpenAI's way to ask for JSON."""

    model_config = ConfigDict(
        json_schema_extra=required_with("type", {"const": "json_schema"}, "json_schema", {"type": "object"})
    )

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


GIVEN = {"not": {"enum": [None, False]}}
OF_STRUCTURED_OUTPUTS = dict.fromkeys(("json", "regex", "choice", "grammar", "json_object"), GIVEN)


class StructuredOutputs(Fields):
    """vLLM's way to ask for a form."""

    model_config = ConfigDict(json_schema_extra={"allOf": at_most_one_of(OF_STRUCTURED_OUTPUTS)})

    json_schema: dict[str, Any] | JsonText | None = Field(default=None, alias="json")
    regex: Regex | None = None
    choice: Choices | None = None
    grammar: Grammar | None = None
    json_object: bool | None = None


STREAM_RULE = required_with("stream_options", {"type": "object"}, "stream", {"const": True})
LENGTH_RULE = required_with("min_tokens", {"type": "integer", "minimum": 1}, "ignore_eos", {"const": True})

FORM_RULES = at_most_one_of(
    {
        **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), GIVEN),
        "response_format": {
            "properties": {"type": {"enum": ["json_object", "json_schema"]}},
            "required": ["type"],
            "type": "object",
        },
        "structured_outputs": {
            "anyOf": [{"properties": {name: GIVEN}, "required": [name]} for name in OF_STRUCTURED_OUTPUTS],
            "type": "object",
        },
    }
)
"""An answer has one form at most."""


class SamplingFields(Fields):
    """The fields of both kinds of request."""

    prompt_field: ClassVar[str]
    """What holds what the model reads."""

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), WHOLE] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_ANSWER_TOKENS), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, WHOLE] | None = None
    stop: StopSequences | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    logit_bias: NotOffered = None

    top_k: Annotated[int, Field(le=MAX_TOP_K), WHOLE] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=MIN_REPETITION_PENALTY, le=10)] | None = None
    ignore_eos: bool | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31), WHOLE] | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | JsonText | None = None
    guided_regex: Regex | None = None
    guided_choice: Choices | None = None
    guided_grammar: Grammar | None = None

    min_tokens: Annotated[int, Field(ge=0, le=MAX_ANSWER_TOKENS), WHOLE] | None = None
    """With ``ignore_eos`` alone, where every answer has as many as it may have."""
    stop_token_ids: NotOffered = None
    include_stop_str_in_output: NotOffered = None
    skip_special_tokens: NeverOff = None
    bad_words: NotOffered = None
    allowed_token_ids: NotOffered = None
    logits_processors: NotOffered = None
    use_beam_search: NotOffered = None
    prompt_logprobs: NeverGiven = None
    truncate_prompt_tokens: NeverGiven = None
    return_tokens_as_token_ids: NotOffered = None
    return_token_ids: NotOffered = None
    echo: NotOffered = None

    @property
    def num_choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage.

        Raises:
            InvalidRequestError: it is asked of an answer that is no stream.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError(FieldProblem("stream_options", "is for streams: set stream to true"))
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def parameters(self, *, max_tokens: int | None, top_logprobs: int | None) -> SamplingParameters:
        """Return how to sample.

        Args:
            max_tokens: of the answer.
            top_logprobs: as in ``SamplingParameters``.

        Raises:
            InvalidRequestError: a value is out of its range; names the field.
        """
        if self.min_tokens and not self.ignore_eos:
            raise InvalidRequestError(FieldProblem("min_tokens", "is supported with ignore_eos only"))
        temperature = OPENAI_TEMPERATURE if self.temperature is None else self.temperature
        given: dict[str, Any] = {
            "max_tokens": max_tokens,
            # a top_p of 0 leaves the likeliest token alone
            "temperature": 0.0 if self.top_p == 0 else temperature,
            "top_p": self.top_p or None,
            "top_k": None if self.top_k is None else max(self.top_k, 0),  # vLLM's -1 is off too
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed is None else self.seed % MAX_SEED,
            "stop": self.stop,
            "ignore_eos": self.ignore_eos,
            "top_logprobs": top_logprobs,
            "constraint": self._constraint(),
        }
        return validated(SamplingParameters, {name: v for name, v in given.items() if v is not None})

    def field_of(self, field: str) -> str:
        """Return the field of this request that one of the domain's comes from."""
        if field == CONVERSATION_FIELD:
            return self.prompt_field
        if field.partition(".")[0] == CONSTRAINT_FIELD:
            return next((name for name, _, _ in self._forms()), field)
        return field

    def _forms(self) -> list[tuple[str, str, Any]]:
        """Return the forms that are asked for: the field, the one of ``OutputConstraint``, the value."""
        return [*self._of_response_format(), *self._of_structured_outputs(), *self._of_guided_fields()]

    def _constraint(self) -> OutputConstraint | None:
        asked = self._forms()
        if not asked:
            return None
        (field, form, value), *others = asked
        if others:
            raise InvalidRequestError(FieldProblem(others[0][0], f"cannot be combined with {field}"))
        try:
            return validated(OutputConstraint, {form: _parsed(field, value) if form == JSON else value})
        except InvalidRequestError as error:
            raise InvalidRequestError(*(FieldProblem(field, p.reason) for p in error.problems)) from error

    def _of_response_format(self) -> list[tuple[str, str, Any]]:
        asked = self.response_format
        match asked:
            case ResponseFormat(type="json_object"):
                return [("response_format", JSON, ANY_OBJECT)]
            case ResponseFormat(type="json_schema", json_schema=None):
                raise InvalidRequestError(FieldProblem("response_format.json_schema", "Field required"))
            case ResponseFormat(type="json_schema", json_schema=JsonSchema(json_schema=schema)):
                return [("response_format.json_schema.schema", JSON, schema)]
            case _:
                return []

    def _of_structured_outputs(self) -> list[tuple[str, str, Any]]:
        asked = self.structured_outputs
        if asked is None:
            return []
        values = (
            ("json", JSON, asked.json_schema),
            ("json_object", JSON, ANY_OBJECT if asked.json_object else None),
            ("regex", "regex", asked.regex),
            ("choice", "choices", asked.choice),
            ("grammar", "grammar", asked.grammar),
        )
        return [(f"structured_outputs.{name}", form, v) for name, form, v in values if v is not None]

    def _of_guided_fields(self) -> list[tuple[str, str, Any]]:
        values = (
            ("guided_json", JSON, self.guided_json),
            ("guided_regex", "regex", self.guided_regex),
            ("guided_choice", "choices", self.guided_choice),
            ("guided_grammar", "grammar", self.guided_grammar),
        )
        return [(name, form, value) for name, form, value in values if value is not None]


def repeated(prompts: Sequence[Prompt], num_choices: int) -> list[Prompt]:
    """Return each prompt ``num_choices`` times; a seed counts up, so that the answers differ."""
    return [_numbered(prompt, choice) for prompt in prompts for choice in range(num_choices)]


def _numbered(prompt: Prompt, choice: int) -> Prompt:
    seed = prompt.parameters.seed
    if not choice or seed is None:
        return prompt
    parameters = prompt.parameters.model_copy(update={"seed": (seed + choice) % MAX_SEED})
    return Prompt(prompt.messages, parameters, prompt.text, prompt.priority)


def _parsed(field: str, schema: Any) -> Any:
    """Return a schema that came as JSON text; another as it is."""
    if not isinstance(schema, str):
        return schema
    try:
        return pydantic_core.from_json(schema, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(FieldProblem(field, "is no JSON")) from error
