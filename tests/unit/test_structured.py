"""The structured workflow over a backend that claims to follow constraints."""

import asyncio
from typing import Any

import pytest

from adapters.scripted import ScriptedTextGenerator
from domain.constraints import OutputConstraint
from domain.errors import BackendError, ConfigurationError, FieldProblem, InvalidRequestError, ServiceError
from domain.generation import Capability, SamplingParameters, TokenChunk
from domain.messages import ChatMessage, Prompt
from domain.runner import RunnerLimits, WorkflowReply, WorkflowRunner
from domain.workflow import WorkflowPorts
from domain.workflows.structured import StructuredWorkflow
from tests.fakes.backends import BareTextGenerator

DATA: dict[str, Any] = {"key": "k", "messageId": "m", "text": "Bob is 42", "history": []}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}


class ObedientTextGenerator(ScriptedTextGenerator):
    """Says what it is told to, and claims that this follows the constraint."""

    capabilities = ScriptedTextGenerator.capabilities | {Capability.CONSTRAINTS}


class RefusingTextGenerator(BareTextGenerator):
    """Refuses every constraint; or fails."""

    capabilities = frozenset({Capability.CONSTRAINTS})

    def __init__(self, error: ServiceError) -> None:
        self._error = error

    async def generate(self, prompt: Prompt):  # type: ignore[no-untyped-def]  # noqa: ANN201 - raises
        raise self._error
        yield TokenChunk("")


async def opened(workflow: StructuredWorkflow, generator: Any) -> WorkflowRunner:
    await generator.open()
    runner = WorkflowRunner("structured", workflow, RunnerLimits())
    loop = asyncio.get_running_loop()
    await runner.open(WorkflowPorts(generator, None, None, None, None, SamplingParameters(), loop))
    return runner


async def reply(workflow: StructuredWorkflow, text: str, **data: Any) -> tuple[WorkflowReply, Prompt]:
    generator = ObedientTextGenerator(replies=["at set-up", text])
    runner = await opened(workflow, generator)
    try:
        return await runner.run(DATA | data), generator.history[-1]
    finally:
        await runner.close()


async def test_a_json_object_is_an_object() -> None:
    answer, prompt = await reply(StructuredWorkflow(json_schema=PERSON), '{"name":"Bob"}')

    assert answer.output == {"name": "Bob"}
    assert prompt.parameters.constraint == OutputConstraint(json_schema=PERSON)


@pytest.mark.parametrize(
    ("workflow", "text"),
    [
        (StructuredWorkflow(json_schema={"type": "array"}), "[1, 2]"),
        (StructuredWorkflow(regex="[0-9]+"), "42"),
        (StructuredWorkflow(choices=("left", "right")), "left"),
        (StructuredWorkflow(grammar='start: "{}"'), "{}"),
    ],
)
async def test_anything_else_is_a_string(workflow: StructuredWorkflow, text: str) -> None:
    answer, _ = await reply(workflow, text)

    assert answer.output == text


async def test_the_system_prompt_opens_the_conversation() -> None:
    _, prompt = await reply(StructuredWorkflow(regex="x", system_prompt="Extract the name."), "x")

    assert prompt.messages[0] == ChatMessage("system", "Extract the name.")


async def test_an_answer_cut_short_names_the_parameter_that_mends_it() -> None:
    with pytest.raises(InvalidRequestError, match=r"^data\.parameters\.max_tokens: .* after 2 tokens$"):
        await reply(StructuredWorkflow(json_schema=PERSON), '{"name": "Bob" }', parameters={"max_tokens": 2})


async def test_json_that_is_none_is_the_backends_failure() -> None:
    with pytest.raises(BackendError, match="not JSON"):
        await reply(StructuredWorkflow(json_schema=PERSON), "Bob")


async def test_a_request_cannot_change_the_form() -> None:
    with pytest.raises(InvalidRequestError, match=r"data\.parameters\.constraint"):
        await reply(StructuredWorkflow(regex="x"), "x", parameters={"constraint": {"regex": "y"}})


async def test_a_form_that_the_backend_refuses_stops_the_start() -> None:
    refusal = InvalidRequestError(FieldProblem("constraint.regex", "has a group that is not closed"))

    with pytest.raises(ConfigurationError, match=r"constraint\.regex: has a group that is not closed"):
        await opened(StructuredWorkflow(regex="("), RefusingTextGenerator(refusal))


async def test_a_backend_that_is_not_there_yet_stops_nothing() -> None:
    runner = await opened(StructuredWorkflow(regex="x"), RefusingTextGenerator(BackendError("unreachable")))

    await runner.close()


async def test_a_backend_without_constraints_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="constrained output"):
        await opened(StructuredWorkflow(regex="x"), ScriptedTextGenerator())


@pytest.mark.parametrize("form", [{}, {"regex": "x", "grammar": "start: A"}, {"choices": []}, {"regex": ""}])
def test_no_form_or_two_or_an_empty_one_are_no_workflow(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        StructuredWorkflow(**form)
