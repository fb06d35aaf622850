"""What an observer is told of generations and proofs, however they end."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from domain.errors import BackendError, NotSupportedError
from domain.generation import Capability, FinishReason, ModelDescription, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt
from domain.telemetry import GAPS_AT_ONCE, GenerationFigures, ObservedTextGenerator, Outcome

pytestmark = pytest.mark.anyio
PROMPT = Prompt([ChatMessage("user", "hi")])
USAGE = Usage(3, 2)


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []
        self.ended: list[GenerationFigures] = []

    def tokens_followed(self, model_id: str, gaps_s: Sequence[float]) -> None:
        assert model_id == "m"
        assert len(gaps_s) <= GAPS_AT_ONCE
        self.gaps_s += gaps_s

    def generation_ended(self, model_id: str, figures: GenerationFigures) -> None:
        assert model_id == "m"
        self.ended.append(figures)


class Backend:
    """Says two tokens, and then ends, or fails."""

    model = ModelDescription("m")
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, error: BackendError | None = None, *, num_tokens: int = 2) -> None:
        self._error = error
        self._num_tokens = num_tokens

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ping(self) -> None: ...

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        for index in range(self._num_tokens):
            is_last = index == self._num_tokens - 1 and self._error is None
            yield TokenChunk("a", FinishReason.LENGTH if is_last else None, USAGE if is_last else None)
        if self._error is not None:
            raise self._error


async def test_a_whole_answer_tells_its_tokens_and_times() -> None:
    told = Told()
    async for _ in ObservedTextGenerator(Backend(), told).generate(PROMPT):
        assert told.ended == []

    (figures,) = told.ended
    assert (figures.outcome, figures.usage, len(told.gaps_s)) == (Outcome.LENGTH, USAGE, 1)
    assert figures.time_to_first_token_s is not None
    assert 0 <= figures.time_to_first_token_s <= figures.duration_s


async def test_each_token_but_the_first_is_told_of_while_a_long_answer_goes_on() -> None:
    told = Told()
    num_received = 0
    async for _ in ObservedTextGenerator(Backend(num_tokens=GAPS_AT_ONCE + 10), told).generate(PROMPT):
        num_received += 1
        assert len(told.gaps_s) == (GAPS_AT_ONCE if num_received > GAPS_AT_ONCE else 0)

    assert len(told.gaps_s) == GAPS_AT_ONCE + 9


@pytest.mark.parametrize(("num_tokens", "has_first"), [(0, False), (1, True)])
async def test_a_failure_is_told_once_and_goes_on(*, num_tokens: int, has_first: bool) -> None:
    told = Told()
    with pytest.raises(BackendError):
        async for _ in ObservedTextGenerator(
            Backend(BackendError("x"), num_tokens=num_tokens), told
        ).generate(PROMPT):
            pass

    (figures,) = told.ended
    assert figures.outcome is Outcome.ERROR
    assert (figures.time_to_first_token_s is not None) is has_first


async def test_who_leaves_aborts() -> None:
    told = Told()
    async with aclosing(ObservedTextGenerator(Backend(), told).generate(PROMPT)) as chunks:
        await anext(chunks)

    assert [figures.outcome for figures in told.ended] == [Outcome.ABORT]


async def test_what_the_backend_lacks_it_lacks_observed() -> None:
    observed = ObservedTextGenerator(Backend(), Told())

    with pytest.raises(NotSupportedError, match="does not offer embeddings"):
        await observed.embed("x")
    with pytest.raises(NotSupportedError, match="does not offer label scores"):
        await observed.score_labels([], ["a"])
