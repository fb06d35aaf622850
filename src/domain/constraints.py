"""What an answer must look like, whatever the model would rather say."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_CHOICES = 1024
MAX_PATTERN_CHARACTERS = 65_536

ChoiceText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
Regex = Annotated[Pattern, Field(json_schema_extra={"format": "llguidance-regex"})]
Grammar = Annotated[Pattern, Field(json_schema_extra={"format": "lark"})]

FORMS = ("json_schema", "regex", "choices", "grammar")
ONE_FORM: dict[str, Any] = {
    "oneOf": [{"properties": {form: {"not": {"type": "null"}}}, "required": [form]} for form in FORMS]
}


class OutputConstraint(BaseModel):
    """A form that the whole answer has; exactly one of the fields is set."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=ONE_FORM)

    json_schema: dict[str, Any] | None = Field(
        default=None, description='JSON of this schema; {"type": "object"} for any object'
    )
    regex: Regex | None = Field(default=None, description="a text that this regular expression matches whole")
    choices: Annotated[tuple[ChoiceText, ...], Field(fail_fast=True)] | None = Field(
        default=None, min_length=1, max_length=MAX_CHOICES, description="one of these texts"
    )
    grammar: Grammar | None = Field(default=None, description="a sentence of this Lark grammar")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(getattr(self, form) is not None for form in FORMS) != 1:
            raise ValueError("exactly one of json_schema, regex, choices, grammar must be given")
        return self
