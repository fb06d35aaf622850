"""Answers of a declared form: JSON of a schema, a match, a sentence of a grammar, one of some texts."""

import json
from typing import Any, ClassVar

from domain.constraints import OutputConstraint
from domain.conversation import conversation_of
from domain.errors import (
    BackendError,
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    UnavailableError,
)
from domain.generation import Capability, FinishReason, Generation
from domain.messages import ChatMessage, Prompt
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow


class StructuredWorkflow(LLMInferenceWorkflow):
    """Answers a message in a form that the settings declare.

    A JSON object is replied as an object, anything else as a string.

    Args:
        json_schema: of the answer; its properties are written in the order that it names them in.
        regex: that the whole answer matches.
        choices: one of which the answer is.
        grammar: in Lark, of which the answer is a sentence.
        system_prompt: opens every conversation; say there what the parts of the form mean.

    Raises:
        ValueError: none of the first four is given, or several, or one that is no such thing.
    """

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.CONSTRAINTS})

    def __init__(
        self,
        *,
        json_schema: dict[str, Any] | None = None,
        regex: str | None = None,
        choices: tuple[str, ...] | None = None,
        grammar: str | None = None,
        system_prompt: str | None = None,
    ) -> None:
        self._constraint = OutputConstraint(
            json_schema=json_schema, regex=regex, choices=choices, grammar=grammar
        )
        self._system_prompt = system_prompt

    async def setup(self) -> None:
        """Ask for a token, to see whether the backend follows the form.

        Raises:
            ConfigurationError: it does not.
        """
        parameters = self.ports.default_parameters.model_copy(
            update={"constraint": self._constraint, "max_tokens": 1}
        )
        try:
            await self.complete(Prompt([ChatMessage("user", "hello")], parameters))
        except InvalidRequestError as error:
            raise ConfigurationError(f"the backend refuses the workflow's form: {error}") from error
        except UnavailableError:
            return  # a server that is not there yet; it is told the form with each request

    async def preprocess(self, request: LLMRequest) -> Prompt:
        parameters = self.ports.default_parameters.overridden_by(request.parameters)
        if parameters.constraint is not None:
            problem = "the workflow's answers have a form already"
            raise InvalidRequestError(FieldProblem("data.parameters.constraint", problem))
        return Prompt(
            conversation_of(request, self._system_prompt),
            parameters.model_copy(update={"constraint": self._constraint}),
        )

    async def postprocess(self, generation: Generation, request: LLMRequest) -> str | dict[str, Any]:  # noqa: ARG002
        if generation.finish_reason is FinishReason.LENGTH:
            problem = f"the answer was not complete after {generation.usage.num_completion_tokens} tokens"
            raise InvalidRequestError(FieldProblem("data.parameters.max_tokens", problem))
        if self._constraint.json_schema is None:
            return generation.text
        try:
            answer = json.loads(generation.text)
        except (ValueError, RecursionError) as error:
            raise BackendError("the backend's answer is not JSON, though it was asked for") from error
        return answer if isinstance(answer, dict) else generation.text
