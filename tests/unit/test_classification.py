"""The classification workflow on scripted scores."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from adapters.scripted import ScriptedTextGenerator
from domain.errors import NotSupportedError
from domain.generation import LabelScores, SamplingParameters, Usage
from domain.messages import ChatMessage
from domain.runner import RunnerLimits, WorkflowRunner
from domain.workflow import WorkflowPorts
from domain.workflows.classification import ClassificationWorkflow

DATA = {"key": "k", "messageId": "m", "text": "buy my shares", "history": []}


class FixedScorer:
    """Gives the scores it is told to and keeps what it was asked."""

    def __init__(self, log_probabilities: dict[str, float]) -> None:
        self._scores = log_probabilities
        self.asked: list[Sequence[ChatMessage]] = []

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        self.asked.append(messages)
        return LabelScores({label: self._scores[label] for label in labels}, Usage(5, 0))


async def reply_of(workflow: ClassificationWorkflow, scorer: FixedScorer | None) -> object:
    runner = WorkflowRunner("test", workflow, RunnerLimits())
    ports = WorkflowPorts(
        ScriptedTextGenerator(), scorer, None, None, None, SamplingParameters(), asyncio.get_running_loop()
    )
    await runner.open(ports)
    try:
        return (await runner.run(DATA)).output
    finally:
        await runner.close()


async def test_probabilities_are_those_of_the_labels_among_themselves() -> None:
    scorer = FixedScorer({"buy": math.log(0.03), "sell": math.log(0.01)})

    reply = await reply_of(ClassificationWorkflow(["buy", "sell"]), scorer)

    assert reply == {"label": "buy", "probabilities": pytest.approx({"buy": 0.75, "sell": 0.25})}


async def test_scores_far_below_what_a_float_holds_still_compare() -> None:
    scorer = FixedScorer({"a": -2000.0, "b": -2001.0})

    reply = await reply_of(ClassificationWorkflow(["a", "b"]), scorer)

    assert reply == {"label": "a", "probabilities": pytest.approx({"a": 0.7310586, "b": 0.2689414})}


async def test_the_instruction_names_the_labels() -> None:
    scorer = FixedScorer({"a": -1.0, "b": -2.0})

    await reply_of(ClassificationWorkflow(["a", "b"], "Choose from {labels}!"), scorer)

    assert scorer.asked[0][0] == ChatMessage("system", "Choose from a, b!")


async def test_a_backend_without_scores_is_no_crash() -> None:
    with pytest.raises(NotSupportedError, match="label scores"):
        await reply_of(ClassificationWorkflow(["a", "b"]), None)


@pytest.mark.parametrize("labels", [[], ["one"], ["a", "a"], ["a", ""], "ab"])
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match="labels must be"):
        ClassificationWorkflow(labels)
