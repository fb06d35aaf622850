"""Classification by the model's own logits: the reply is a dict with a probability for each label."""

from collections.abc import Sequence
from typing import Any, ClassVar

from domain.chain import ChainFormat
from domain.conversation import conversation_of
from domain.errors import NotSupportedError
from domain.generation import Capability, LabelScores
from domain.messages import ChatMessage
from domain.probabilities import softmax
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow

DEFAULT_INSTRUCTION = "Answer with one word, one of: {labels}."
MIN_LABELS = 2


class ClassificationWorkflow(LLMInferenceWorkflow):
    """Tells which of some labels the model finds most fitting.

    The reply is ``{"label": …, "probabilities": {label: p}}``. The probability of a label is that of its
    tokens as the assistant's answer, divided by the sum over all labels (so they add up to 1). Labels of
    several tokens are at a disadvantage: choose labels of like length.

    Args:
        labels: two or more different words.
        instruction: the system message; ``{labels}`` stands for the labels, joined by commas.

    Raises:
        ValueError: the labels are too few, empty or repeated.
    """

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.LABEL_SCORES})
    chain_format: ClassVar[ChainFormat] = ChainFormat(codec="abi", input="(string)", output="(string label)")

    def __init__(self, labels: Sequence[str], instruction: str = DEFAULT_INSTRUCTION) -> None:
        if isinstance(labels, str) or not all(labels):
            raise ValueError("labels must be a list of words")
        if len(labels) < MIN_LABELS or len(set(labels)) < len(labels):
            raise ValueError("labels must be two or more different words")
        self._labels = tuple(labels)
        self._system_prompt = instruction.replace("{labels}", ", ".join(labels))

    async def preprocess(self, request: LLMRequest) -> list[ChatMessage]:
        return conversation_of(request, self._system_prompt)

    async def generate(self, prompt: list[ChatMessage]) -> LabelScores:
        scorer = self.ports.label_scorer
        if scorer is None:
            raise NotSupportedError("the backend offers no label scores")
        return await scorer.score_labels(prompt, self._labels)

    async def postprocess(self, generation: LabelScores, request: LLMRequest) -> dict[str, Any]:  # noqa: ARG002
        scores = generation.log_probabilities
        probabilities = dict(zip(scores, softmax(scores.values()), strict=True))
        return {"label": max(probabilities, key=probabilities.__getitem__), "probabilities": probabilities}
