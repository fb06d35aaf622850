"""The agent-decision workflow over fakes: when it proves, whose action it tells, what it refuses."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.scripted import ScriptedTextGenerator
from domain.constraints import OutputConstraint
from domain.decisions import Decision
from domain.errors import (
    BackendError,
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
)
from domain.generation import Capability, SamplingParameters
from domain.proofs import CircuitDescription, ProofResult, ProofTimings
from domain.runner import RunnerLimits, WorkflowRunner
from domain.workflow import WorkflowPorts
from domain.workflows.agent_decision import ONE_SENTENCE, AgentDecisionWorkflow

DATA = {"key": "1", "messageId": "2", "text": "please buy it", "history": []}


class FixedHead:
    """Prefers the second label, whatever it reads."""

    labels = ("noop", "buy", "sell")
    vector_size = 2

    head_id = "h"

    def __init__(self, embedding_size: int = 4) -> None:
        self.embedding_size = embedding_size

    def decide(self, embedding: Sequence[float]) -> Decision:
        return Decision(tuple(embedding[:2]), (0.0, 1.0, -1.0))


class FixedProver:
    """Proves that the answer is an index; or fails."""

    def __init__(self, index: int = 1, error: ServiceError | None = None, num_inputs: int = 2) -> None:
        self.circuit = CircuitDescription(
            "c",
            num_inputs,
            input_scale=7,
            takes_integers=False,
            input_visibility="hashed",
            is_srs_insecure=True,
        )
        self._index = index
        self._error = error
        self.proved: list[Sequence[float]] = []

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def prove(self, inputs: Sequence[float]) -> ProofResult:
        self.proved.append(inputs)
        if self._error is not None:
            raise self._error
        values: dict[str, list[int | float]] = {"input_hash": [7], "outputs": [self._index]}
        timings = ProofTimings(0, 0, 0, 0)
        return ProofResult("c", b"p", (7, self._index), values, b"call", None, timings)


class ObedientTextGenerator(ScriptedTextGenerator):
    """Claims to follow constraints."""

    capabilities = ScriptedTextGenerator.capabilities | {Capability.CONSTRAINTS}


@asynccontextmanager
async def running(
    workflow: AgentDecisionWorkflow,
    prover: FixedProver | None,
    head: FixedHead | None = None,
    generator: ScriptedTextGenerator | None = None,
) -> AsyncIterator[WorkflowRunner]:
    generator = generator or ScriptedTextGenerator("because of the moon", embedding_size=4)
    await generator.open()
    runner = WorkflowRunner("decision", workflow, RunnerLimits())
    loop = asyncio.get_running_loop()
    await runner.open(
        WorkflowPorts(
            generator, generator, generator, head or FixedHead(), prover, SamplingParameters(), loop
        )
    )
    try:
        yield runner
    finally:
        await runner.close()


async def answer(runner: WorkflowRunner, *, requires_proof: bool = False) -> dict[str, Any]:
    output = (await runner.run(DATA, requires_proof=requires_proof)).output
    assert isinstance(output, dict)
    return output


async def test_a_decision_has_action_probabilities_rationale_and_vector() -> None:
    async with running(AgentDecisionWorkflow(), None) as runner:
        reply = await answer(runner)

    assert reply["action"] == "buy"
    assert sum(reply["probabilities"].values()) == pytest.approx(1)
    assert max(reply["probabilities"], key=reply["probabilities"].get) == "buy"
    assert reply["rationale"] == "because of the moon"
    assert len(reply["vector"]) == 2
    assert "proof" not in reply


@pytest.mark.parametrize(
    ("kind", "constraint"), [(ObedientTextGenerator, ONE_SENTENCE), (ScriptedTextGenerator, None)]
)
async def test_the_rationale_is_one_sentence_where_the_backend_can_be_constrained(
    kind: type[ScriptedTextGenerator], constraint: OutputConstraint | None
) -> None:
    generator = kind(replies=["Because."], embedding_size=4)
    async with running(AgentDecisionWorkflow(), None, generator=generator) as runner:
        await answer(runner)

    assert [prompt.parameters.constraint for prompt in generator.history] == [constraint]


async def test_a_request_may_ask_for_a_rationale_of_another_form() -> None:
    generator = ObedientTextGenerator(replies=["yes"], embedding_size=4)
    form = OutputConstraint(choices=("yes", "no"))
    async with running(AgentDecisionWorkflow(), None, generator=generator) as runner:
        await runner.run(DATA | {"parameters": {"constraint": {"choices": ["yes", "no"]}}})

    assert generator.history[0].parameters.constraint == form


@pytest.mark.parametrize("text", ["It costs 3.5 ETH.", "Why not!", '"So be it", they said.'])
def test_a_sentence_is_one(text: str) -> None:
    assert re.fullmatch(str(ONE_SENTENCE.regex), text)


@pytest.mark.parametrize("text", ["It was. It is.", "No end", " A space.", "Two\nlines.", "..."])
def test_what_is_no_sentence_or_several_is_none(text: str) -> None:
    assert not re.fullmatch(str(ONE_SENTENCE.regex), text)


async def test_a_proof_is_made_when_the_request_asks_or_the_settings_say() -> None:
    prover = FixedProver()
    async with running(AgentDecisionWorkflow(), prover) as runner:
        assert "proof" not in await answer(runner)
        assert (await answer(runner, requires_proof=True))["proof"]["circuit_id"] == "c"
        assert "proof" not in await answer(runner)
    async with running(AgentDecisionWorkflow(proves_always=True), prover) as runner:
        assert "proof" in await answer(runner)

    assert len(prover.proved) == 2


async def test_requests_at_once_keep_to_their_own_wish() -> None:
    async with running(AgentDecisionWorkflow(), FixedProver()) as runner:
        replies = await asyncio.gather(*(answer(runner, requires_proof=i % 2 == 0) for i in range(10)))

    assert ["proof" in reply for reply in replies] == [i % 2 == 0 for i in range(10)]


async def test_with_a_proof_the_action_is_the_circuits() -> None:
    async with running(AgentDecisionWorkflow(has_rationale=False), FixedProver(index=2)) as runner:
        reply = await answer(runner, requires_proof=True)

    assert reply["action"] == "sell"
    assert "rationale" not in reply


async def test_an_index_that_is_no_label_is_an_error() -> None:
    async with running(AgentDecisionWorkflow(), FixedProver(index=3)) as runner:
        with pytest.raises(BackendError, match="not the index of a label"):
            await answer(runner, requires_proof=True)


async def test_without_a_circuit_a_proof_cannot_be_asked_for() -> None:
    async with running(AgentDecisionWorkflow(), None) as runner:
        with pytest.raises(InvalidRequestError, match="requires_proof"):
            await answer(runner, requires_proof=True)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OverloadedError("busy"), OverloadedError),
        (InvalidRequestError(FieldProblem("inputs.0", "too large")), BackendError),
    ],
)
async def test_a_failed_proof_fails_the_request_in_its_own_words(
    error: ServiceError, raised: type[ServiceError]
) -> None:
    async with running(AgentDecisionWorkflow(), FixedProver(error=error)) as runner:
        with pytest.raises(raised):
            await answer(runner, requires_proof=True)


@pytest.mark.parametrize(
    ("workflow", "prover", "head", "message"),
    [
        (AgentDecisionWorkflow(), None, FixedHead(5), "trained for another model"),
        (AgentDecisionWorkflow(), FixedProver(num_inputs=3), FixedHead(), "not this head's"),
        (AgentDecisionWorkflow(proves_always=True), None, FixedHead(), "set LLM_CIRCUIT"),
    ],
)
async def test_parts_that_do_not_fit_stop_the_start(
    workflow: AgentDecisionWorkflow, prover: FixedProver | None, head: FixedHead, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        async with running(workflow, prover, head):
            pass
