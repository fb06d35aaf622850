"""Continuous batching: whatever the traffic, each answer is the one its prompt has alone."""

import itertools
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.onnx.engine import Engine
from adapters.onnx.engine_observer import EngineObserver, NobodyObserves
from adapters.onnx.prefill_budget import PrefillBudget
from adapters.onnx.prefix_cache import PrefixCache
from adapters.onnx.prompt_lookup import PromptLookup
from adapters.onnx.sampler import Floats, RowSampling, log_softmax_at
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import Constraint, Event, LabelScoring, Sequence, TextEmbedding
from adapters.onnx.watchdog import Watchdog
from domain.errors import BackendError, FieldProblem, InvalidRequestError, ServiceError, UnavailableError
from domain.generation import FinishReason, SamplingParameters, TokenChunk, Usage
from domain.stop_sequences import StopSequenceFilter
from tests.fakes.model_runner import VOCAB_SIZE, CachingModelRunner, next_token_id

MAX_LENGTH = 64
WAIT_S = 10
GREEDY = SamplingParameters()


class NumberDetokenizer:
    """Writes each token id and a space."""

    def step(self, token_id: int) -> str:
        return f"{token_id} "


@dataclass
class Caller:
    """Collects what the engine tells one request."""

    events: queue.Queue[Event] = field(default_factory=queue.Queue)

    def result(self) -> tuple[str, TokenChunk]:
        texts = []
        while True:
            event = self.events.get(timeout=WAIT_S)
            if isinstance(event, ServiceError):
                raise event
            texts.append(event.text)
            if event.finish_reason is not None:
                return "".join(texts), event


class NumberTexts:
    """Reads each token as its number."""

    def token_bytes(self, token_id: int) -> bytes:
        return str(token_id).encode()


def sequence(
    caller: Caller,
    prompt_ids: list[int],
    max_tokens: int,
    eos: frozenset[int] = frozenset(),
    *,
    parameters: SamplingParameters = GREEDY,
    priority: int = 0,
    constraint: Constraint | None = None,
    num_guesses: int = 0,
) -> Sequence:
    return Sequence(
        prompt_ids=prompt_ids,
        emit_error=caller.events.put,
        priority=priority,
        max_tokens=max_tokens,
        eos_token_ids=eos,
        sampling=RowSampling(parameters, prompt_ids, constraint),
        detokenizer=NumberDetokenizer(),  # type: ignore[arg-type] # it has the one method that is called
        stop=StopSequenceFilter(()),
        emit=caller.events.put,
        constraint=constraint,
        lookup=PromptLookup(prompt_ids, num_guesses) if num_guesses else None,
    )


def expected_text(prompt_ids: list[int], max_tokens: int) -> str:
    token_ids = list(prompt_ids)
    for _ in range(max_tokens):
        token_ids.append(next_token_id(token_ids))
    return "".join(f"{token_id} " for token_id in token_ids[len(prompt_ids) :])


def new_engine(
    model: CachingModelRunner,
    num_slots: int,
    chunk: int = 5,
    num_blocks: int = 0,
    *,
    starts: bool = True,
    observer: EngineObserver | None = None,
) -> Engine:
    engine = Engine(
        model,
        Scheduler(num_slots=num_slots),
        PrefixCache(num_blocks),
        PrefillBudget(chunk, max_stall=1000),
        token_texts=NumberTexts(),
        observer=observer,
    )
    if starts:
        engine.start()
    return engine


prompts = st.one_of(
    st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=25),
    st.integers(33, 50).map(lambda length: list(range(length))),  # share a block of the prefix cache
)
requests = st.lists(st.tuples(prompts, st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


@given(
    requests=requests,
    num_slots=st.integers(1, 4),
    chunk=st.integers(1, 8),
    num_blocks=st.integers(0, 3),
    takes_chunks=st.booleans(),
)
def test_each_answer_is_that_of_its_prompt_alone_while_others_come_go_and_are_cancelled(
    requests: list[tuple[list[int], int, bool]],
    num_slots: int,
    chunk: int,
    num_blocks: int,
    takes_chunks: bool,
) -> None:
    model = CachingModelRunner(num_slots, MAX_LENGTH, num_blocks=num_blocks, takes_chunks=takes_chunks)
    engine = new_engine(model, num_slots, chunk, num_blocks)
    callers = []
    try:
        for prompt_ids, max_tokens, is_cancelled in requests:
            caller = Caller()
            work = sequence(caller, prompt_ids, max_tokens, num_guesses=3)
            engine.submit(work)
            if is_cancelled:
                engine.cancel(work)
            else:
                callers.append((caller, prompt_ids, max_tokens))
        for caller, prompt_ids, max_tokens in callers:
            text, last = caller.result()
            assert text == expected_text(prompt_ids, max_tokens)
            assert last.finish_reason is FinishReason.LENGTH
            assert last.usage is not None
            assert last.usage.num_prompt_tokens == len(prompt_ids)
            assert last.usage.num_completion_tokens == max_tokens
            assert caller.events.empty()
    finally:
        engine.stop()


def test_sequences_are_decoded_together_and_long_prompts_in_chunks() -> None:
    model = CachingModelRunner(4, MAX_LENGTH)
    engine = new_engine(model, 4, starts=False)
    callers = [Caller() for _ in range(4)]
    for index, caller in enumerate(callers):
        engine._scheduler.add(sequence(caller, [index] * 12, 20))
    engine.start()
    for caller in callers:
        caller.result()
    engine.stop()

    assert max(model.decode_sizes) == 4
    assert max(model.prefill_sizes + model.beside_sizes) == 5
    assert len(model.decode_sizes) < 4 * 19


@pytest.mark.parametrize("takes_chunks", [True, False])
def test_a_prompt_is_read_in_the_passes_that_decode_where_the_model_can(takes_chunks: bool) -> None:
    model = CachingModelRunner(2, MAX_LENGTH, takes_chunks=takes_chunks)
    engine = new_engine(model, 2, starts=False)
    running, coming = Caller(), Caller()
    engine._scheduler.add(sequence(running, [1, 2, 3], 20))
    engine._scheduler.add(sequence(coming, [4] * 12, 5))
    engine.start()
    texts = [caller.result()[0] for caller in (running, coming)]
    engine.stop()

    assert texts == [expected_text([1, 2, 3], 20), expected_text([4] * 12, 5)]
    assert model.beside_sizes == ([5, 5, 2] if takes_chunks else [])


def test_a_pass_that_fails_ends_those_who_decode_and_who_is_read_beside_them() -> None:
    model = CachingModelRunner(3, MAX_LENGTH, fails_at=3)
    engine = new_engine(model, 3, starts=False)
    callers = [Caller() for _ in range(3)]
    for caller, prompt_ids in zip(callers, ([1], [2] * 9, [3] * 9), strict=True):
        engine._scheduler.add(sequence(caller, prompt_ids, 20))
    engine.start()
    for caller in callers[:2]:
        with pytest.raises(BackendError, match="device is lost"):
            caller.result()
    text, _ = callers[2].result()
    engine.stop()

    assert model.beside_sizes
    assert text == expected_text([3] * 9, 20)


def test_labels_are_scored_behind_a_prompt_that_was_read_beside() -> None:
    model = CachingModelRunner(2, MAX_LENGTH)
    engine = new_engine(model, 2, starts=False)
    caller, scored = Caller(), queue.Queue[list[float]]()
    errors: list[ServiceError] = []
    engine._scheduler.add(sequence(caller, [4, 5], 30))
    prompt_ids = [7] * 9
    likely = next_token_id(prompt_ids)
    engine._scheduler.add(
        LabelScoring(
            prompt_ids=prompt_ids,
            label_ids=[[likely], [(likely + 1) % VOCAB_SIZE]],
            emit_scores=scored.put,
            emit_error=errors.append,
        )
    )
    engine.start()
    scores = scored.get(timeout=WAIT_S)
    text, _ = caller.result()
    engine.stop()

    assert model.beside_sizes
    assert errors == []
    assert scores[0] > scores[1]
    assert text == expected_text([4, 5], 30)


def test_an_end_token_ends_the_answer_and_has_no_text() -> None:
    prompt_ids = [1, 2, 3]
    token_ids = [int(token) for token in expected_text(prompt_ids, 6).split()]
    end = token_ids[3]
    num_before = token_ids.index(end)
    caller = Caller()
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH), 1)
    engine.submit(sequence(caller, prompt_ids, 20, frozenset({end})))
    text, last = caller.result()
    engine.stop()

    assert text == "".join(f"{token} " for token in token_ids[:num_before])
    assert last.finish_reason is FinishReason.STOP
    assert last.usage == Usage(3, num_before + 1)


def test_label_scores_are_served_between_generations_and_leave_them_alone() -> None:
    model = CachingModelRunner(3, MAX_LENGTH)
    engine = new_engine(model, 3)
    caller, scored = Caller(), queue.Queue[list[float]]()
    engine.submit(sequence(caller, [4, 5], 30))
    likely = next_token_id([7, 8, 9])
    other = (likely + 1) % VOCAB_SIZE
    labels = [[likely], [other], [likely, next_token_id([7, 8, 9, likely])]]
    errors: list[ServiceError] = []
    engine.submit(
        LabelScoring(prompt_ids=[7, 8, 9], label_ids=labels, emit_scores=scored.put, emit_error=errors.append)
    )
    scores = scored.get(timeout=WAIT_S)
    text, _ = caller.result()
    engine.stop()

    assert errors == []
    assert scores[0] > scores[1]
    assert scores[2] == pytest.approx(2 * scores[0])
    assert text == expected_text([4, 5], 30)


def scoring(
    prompt_ids: list[int], label_ids: list[list[int]], told: "queue.Queue[list[float] | ServiceError]"
) -> LabelScoring:
    return LabelScoring(prompt_ids=prompt_ids, label_ids=label_ids, emit_scores=told.put, emit_error=told.put)


label_lists = st.lists(
    st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=40), min_size=1, max_size=6
)


@given(label_ids=label_lists, num_others=st.integers(0, 2), chunk=st.integers(1, 40))
def test_labels_have_the_scores_of_their_tokens_whatever_the_chunks_and_the_others(
    label_ids: list[list[int]], num_others: int, chunk: int
) -> None:
    prompt_ids = [7, 8, 9]
    engine = new_engine(CachingModelRunner(3, MAX_LENGTH), 3, chunk)
    others, told = [Caller() for _ in range(num_others)], queue.Queue[list[float] | ServiceError]()
    for index, other in enumerate(others):
        engine.submit(sequence(other, [index], 30))
    engine.submit(scoring(prompt_ids, label_ids, told))
    scores = told.get(timeout=WAIT_S)
    texts = [other.result()[0] for other in others]
    engine.stop()

    model = CachingModelRunner(1, MAX_LENGTH)
    expected = []
    for token_ids in label_ids:
        fed = np.array(prompt_ids + token_ids[:-1], np.int64)
        logits = model.prefill(0, fed, 0, num_logits=len(token_ids))
        expected.append(log_softmax_at(logits, np.array(token_ids, np.int64)).sum())
    assert scores == pytest.approx(expected)
    assert texts == [expected_text([index], 30) for index in range(num_others)]


def test_answers_go_on_between_labels_and_scoring_can_be_cancelled() -> None:
    engine = new_engine(CachingModelRunner(2, MAX_LENGTH), 2, chunk=4)
    caller, next_caller, told = Caller(), Caller(), queue.Queue[list[float] | ServiceError]()
    endless = scoring([7, 8], [[1, 2, 3]] * 100_000, told)
    engine.submit(sequence(caller, [4, 5], 40))
    engine.submit(endless)
    text, _ = caller.result()
    engine.cancel(endless)
    engine.submit(sequence(next_caller, [6], 5))

    assert text == expected_text([4, 5], 40)
    assert next_caller.result()[0] == expected_text([6], 5)
    assert told.empty()
    engine.stop()


def test_an_embedding_is_the_mean_of_its_tokens_states_whatever_the_chunks() -> None:
    model = CachingModelRunner(3, MAX_LENGTH)
    engine = new_engine(model, 3, chunk=4)
    caller, embedded = Caller(), queue.Queue[Floats]()
    errors: list[ServiceError] = []
    engine.submit(sequence(caller, [4, 5], 30))
    text_ids = [1, 2, 3, 3, 3, 4, 5, 5, 5, 5]
    engine.submit(TextEmbedding(prompt_ids=text_ids, emit_vector=embedded.put, emit_error=errors.append))
    vector = embedded.get(timeout=WAIT_S)
    text, _ = caller.result()
    engine.stop()

    assert errors == []
    assert vector[:6].tolist() == pytest.approx([0, 0.1, 0.1, 0.3, 0.1, 0.4])
    assert text == expected_text([4, 5], 30)


def test_a_failure_of_the_model_ends_the_requests_of_that_step_and_the_engine_goes_on() -> None:
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH, fails_at=3), 1)
    first, second = Caller(), Caller()
    engine.submit(sequence(first, [1], 20))
    with pytest.raises(BackendError, match="device is lost"):
        first.result()
    engine.submit(sequence(second, [2], 5))

    assert second.result()[0] == expected_text([2], 5)
    engine.stop()


def test_stop_ends_every_request_and_refuses_new_ones() -> None:
    engine = new_engine(CachingModelRunner(1, 10_000), 1)
    callers = [Caller() for _ in range(3)]
    for caller in callers:
        engine.submit(sequence(caller, [1], 9_000))
    callers[0].events.get(timeout=WAIT_S)  # it runs
    engine.stop()

    for caller in callers:
        with pytest.raises(UnavailableError, match="shutting down"):
            caller.result()
    with pytest.raises(UnavailableError):
        engine.submit(sequence(Caller(), [1], 5))


def test_a_cancelled_sequence_leaves_within_a_step() -> None:
    engine = new_engine(CachingModelRunner(1, 100_000), 1)
    endless, next_caller = Caller(), Caller()
    work = sequence(endless, [1], 90_000)
    engine.submit(work)
    endless.events.get(timeout=WAIT_S)
    engine.cancel(work)
    engine.submit(sequence(next_caller, [2], 3))

    assert next_caller.result()[0] == expected_text([2], 3)
    assert threading.active_count() >= 1
    engine.stop()


class CountsInTens:
    """A form: 10, 20, 30, …; the first of each pair is forced."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens
        self.accepted: list[int] = []
        self.num_asked = 0

    @property
    def next_id(self) -> int:
        return (len(self.accepted) + 1) * 10 % VOCAB_SIZE

    def allows(self, token_id: int) -> bool:
        self.num_asked += 1
        return token_id == self.next_id

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        mask[:] = 0
        mask[self.next_id // 8] = 1 << self.next_id % 8

    def accept(self, token_ids: list[int]) -> None:
        self.accepted += token_ids

    def forced(self) -> list[int]:
        return [self.next_id] if len(self.accepted) % 2 == 0 else []

    @property
    def is_complete(self) -> bool:
        return len(self.accepted) >= self.num_tokens


@pytest.mark.parametrize("num_others", [0, 2])
def test_a_form_is_kept_and_its_forced_tokens_are_not_sampled(num_others: int) -> None:
    engine = new_engine(CachingModelRunner(3, MAX_LENGTH), 3)
    others = [Caller() for _ in range(num_others)]
    for index, other in enumerate(others):
        engine.submit(sequence(other, [index], 40))
    caller, form = Caller(), CountsInTens(8)
    engine.submit(sequence(caller, [1, 2], 20, constraint=form))
    text, last = caller.result()
    other_texts = [other.result()[0] for other in others]
    engine.stop()

    assert text == "10 20 30 40 0 10 20 30 "
    assert last.finish_reason is FinishReason.STOP
    assert form.num_asked == 4
    assert other_texts == [expected_text([index], 40) for index in range(num_others)]


@dataclass
class FixedPlaces:
    """A form that fixes the tokens at some places of the answer and leaves the others free."""

    fixed: dict[int, int]
    num_accepted: int = 0
    is_complete: bool = False

    def allows(self, token_id: int) -> bool:
        return self.fixed.get(self.num_accepted, token_id) == token_id

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        """Have nothing to write: what is not forced is allowed."""

    def accept(self, token_ids: list[int]) -> None:
        self.num_accepted += len(token_ids)
        self.is_complete = self.num_accepted == 1 + max(self.fixed, default=MAX_LENGTH)

    def forced(self) -> list[int]:
        places = itertools.takewhile(self.fixed.__contains__, itertools.count(self.num_accepted))
        return [self.fixed[place] for place in places]


def fixed_text(prompt_ids: list[int], max_tokens: int, fixed: dict[int, int]) -> str:
    """Return what the model says around the fixed tokens; the last of them ends the answer."""
    token_ids = list(prompt_ids)
    for place in range(min(max_tokens, 1 + max(fixed, default=max_tokens))):
        token_ids.append(fixed[place] if place in fixed else next_token_id(token_ids))
    return "".join(f"{token_id} " for token_id in token_ids[len(prompt_ids) :])


class FixedTokens(FixedPlaces):
    """The same, by a mask."""

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        token_id = self.fixed.get(self.num_accepted)
        mask[:] = 0xFF if token_id is None else 0
        if token_id is not None:
            mask[token_id // 8] = 1 << token_id % 8


fixed_runs = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 30)), max_size=3)


def places_of(runs: list[tuple[int, int]]) -> dict[int, int]:
    """Return tokens at runs of places, each given by how many places it skips, and its length."""
    fixed: dict[int, int] = {}
    place = 0
    for num_free, num_fixed in runs:
        place += num_free
        fixed |= {behind: behind * 7 % VOCAB_SIZE for behind in range(place, place + num_fixed)}
        place += num_fixed
    return fixed


@given(
    requests=st.lists(st.tuples(prompts, st.integers(1, 60), fixed_runs), min_size=1, max_size=6),
    num_slots=st.integers(1, 4),
    chunk=st.integers(1, 40),
)
def test_forced_tokens_stand_in_the_cache_whatever_the_traffic(
    requests: list[tuple[list[int], int, list[tuple[int, int]]]], num_slots: int, chunk: int
) -> None:
    engine = new_engine(CachingModelRunner(num_slots, 128, num_blocks=3), num_slots, chunk, 3)
    callers = []
    try:
        for prompt_ids, max_tokens, runs in requests:
            caller = Caller()
            form = FixedPlaces(places_of(runs))
            engine.submit(sequence(caller, prompt_ids, max_tokens, constraint=form, num_guesses=3))
            callers.append((caller, fixed_text(prompt_ids, max_tokens, places_of(runs))))
        for caller, expected in callers:
            assert caller.result()[0] == expected
            assert caller.events.empty()
    finally:
        engine.stop()


class Breaks(FixedPlaces):
    """A form that cannot be followed behind its first token, which leaves but the end to sample."""

    def fill(self, mask: npt.NDArray[np.uint8]) -> None:
        mask[:] = 0
        mask[0] = 1

    def allows(self, token_id: int) -> bool:
        return self.num_accepted == 0

    def accept(self, token_ids: list[int]) -> None:
        if self.num_accepted > 0:
            raise InvalidRequestError(FieldProblem("constraint.regex", "is too complex"))
        super().accept(token_ids)


def test_a_form_that_breaks_ends_its_answer_with_its_error_and_no_other() -> None:
    engine = new_engine(CachingModelRunner(2, MAX_LENGTH), 2)
    caller, other = Caller(), Caller()
    engine.submit(sequence(other, [3], 20))
    engine.submit(sequence(caller, [1, 2], 20, frozenset({0}), constraint=Breaks({})))

    with pytest.raises(InvalidRequestError, match="is too complex"):
        caller.result()
    assert other.result()[0] == expected_text([3], 20)
    engine.stop()


def test_every_token_has_a_log_probability_where_they_are_asked_for_whatever_is_forced() -> None:
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH), 1)
    caller, fixed = Caller(), places_of([(0, 3), (2, 2)])
    parameters = SamplingParameters(top_logprobs=1)
    form = FixedTokens(fixed)
    engine.submit(sequence(caller, [1, 2], 20, parameters=parameters, constraint=form))
    tokens = []
    while True:
        chunk = caller.events.get(timeout=WAIT_S)
        assert isinstance(chunk, TokenChunk)
        tokens += [int(logprob.token) for logprob in chunk.logprobs]
        if chunk.finish_reason is not None:
            break
    engine.stop()

    assert "".join(f"{token} " for token in tokens) == fixed_text([1, 2], 20, fixed)


def test_what_an_answer_must_begin_with_is_read_with_its_prompt() -> None:
    model = CachingModelRunner(1, MAX_LENGTH)
    engine = new_engine(model, 1, chunk=8)
    caller, fixed = Caller(), places_of([(0, 12), (20, 1)])
    engine.submit(sequence(caller, [1] * 10, 14, constraint=FixedPlaces(fixed)))
    text, last = caller.result()
    engine.stop()

    assert text == fixed_text([1] * 10, 14, fixed)
    assert last.usage == Usage(10, 14)
    assert model.prefill_sizes[:3] == [8, 8, 6]


def test_an_answer_without_a_choice_takes_no_pass() -> None:
    model = CachingModelRunner(1, MAX_LENGTH)
    engine = new_engine(model, 1)
    caller = Caller()
    engine.submit(sequence(caller, [1, 2], 20, constraint=FixedPlaces({0: 7, 1: 8})))
    text, last = caller.result()
    engine.stop()

    assert text == "7 8 "
    assert (last.finish_reason, last.usage) == (FinishReason.STOP, Usage(2, 2))
    assert model.num_calls == 0


def test_a_long_forced_run_is_read_in_chunks_beside_other_answers() -> None:
    model = CachingModelRunner(2, 128)
    engine = new_engine(model, 2, chunk=24, starts=False)
    caller, other = Caller(), Caller()
    fixed = places_of([(4, 60), (2, 1)])
    engine._scheduler.add(sequence(other, [3], 100))
    engine._scheduler.add(sequence(caller, [1, 2], 80, constraint=FixedPlaces(fixed)))
    engine.start()
    text, _ = caller.result()
    other_text, _ = other.result()
    engine.stop()

    assert text == fixed_text([1, 2], 80, fixed)
    assert other_text == expected_text([3], 100)
    assert model.prefill_sizes[:2] == [1, 2]
    assert all(16 <= size <= 24 for size in model.prefill_sizes[2:4])


def test_a_long_forced_run_of_a_sole_answer_is_read_in_chunks() -> None:
    model = CachingModelRunner(1, 128)
    engine = new_engine(model, 1, chunk=24)
    caller = Caller()
    fixed = places_of([(4, 60), (2, 1)])
    engine.submit(sequence(caller, [1, 2], 80, constraint=FixedPlaces(fixed)))
    text, _ = caller.result()
    engine.stop()

    assert text == fixed_text([1, 2], 80, fixed)
    assert max(model.prefill_sizes) == 24


class BreaksOff(CountsInTens):
    """A form that cannot be followed behind the third token."""

    def accept(self, token_ids: list[int]) -> None:
        super().accept(token_ids)
        if len(self.accepted) > 3:
            raise InvalidRequestError(FieldProblem("constraint", "is too complex"))


def test_a_form_that_cannot_be_followed_ends_its_own_answer_alone() -> None:
    engine = new_engine(CachingModelRunner(3, MAX_LENGTH), 3)
    caller, other = Caller(), Caller()
    engine.submit(sequence(other, [3], 40))
    engine.submit(sequence(caller, [1, 2], 20, constraint=BreaksOff(8)))
    with pytest.raises(InvalidRequestError, match="too complex"):
        caller.result()

    assert other.result()[0] == expected_text([3], 40)
    engine.stop()
    assert caller.events.empty()


class Incalculable(CountsInTens):
    """Whose allowed tokens cannot be told behind the third."""

    def allows(self, token_id: int) -> bool:
        if len(self.accepted) > 2:
            raise ZeroDivisionError
        return super().allows(token_id)


def test_a_token_that_cannot_be_chosen_ends_its_own_answer_alone() -> None:
    engine = new_engine(CachingModelRunner(2, MAX_LENGTH), 2)
    caller, later, other = Caller(), Caller(), Caller()
    engine.submit(sequence(other, [3], 40))
    engine.submit(sequence(caller, [1, 2], 20, constraint=Incalculable(8)))
    with pytest.raises(BackendError, match="could not be chosen"):
        caller.result()
    engine.submit(sequence(later, [3], 10))

    assert later.result()[0] == expected_text([3], 10)
    assert other.result()[0] == expected_text([3], 40)
    engine.stop()


class Illegible(NumberDetokenizer):
    """Which cannot read the second token."""

    def __init__(self) -> None:
        self.num_steps = 0

    def step(self, token_id: int) -> str:
        self.num_steps += 1
        if self.num_steps == 2:
            raise ValueError(f"what the caller wrote: {token_id}")
        return super().step(token_id)


def test_a_token_that_cannot_be_read_ends_its_own_answer_alone(caplog: pytest.LogCaptureFixture) -> None:
    engine = new_engine(CachingModelRunner(2, MAX_LENGTH), 2)
    caller, other = Caller(), Caller()
    work = sequence(caller, [1, 2], 20)
    work.detokenizer = Illegible()  # type: ignore[assignment] # as above
    engine.submit(sequence(other, [3], 40))
    engine.submit(work)
    with pytest.raises(BackendError, match="cannot go on"):
        caller.result()

    assert other.result()[0] == expected_text([3], 40)
    engine.stop()
    assert "ValueError" in caplog.text
    assert "what the caller wrote" not in caplog.text


class CountsLooks(NobodyObserves):
    """Notes each look at the prefix cache."""

    def __init__(self) -> None:
        self.looks: list[tuple[int, int]] = []

    def prefix_looked_up(self, num_tokens: int, num_reused: int) -> None:
        self.looks.append((num_tokens, num_reused))


def test_each_prompt_is_told_of_once_however_long_it_waits_for_its_turn() -> None:
    observer = CountsLooks()
    model = CachingModelRunner(3, 200, num_blocks=8)
    engine = new_engine(model, 3, chunk=40, num_blocks=8, starts=False, observer=observer)
    callers = [Caller() for _ in range(3)]
    for first, caller in enumerate(callers):
        engine._scheduler.add(sequence(caller, list(range(first, first + 39)), 3))
    engine.start()
    for caller in callers:
        caller.result()
    engine.stop()

    assert observer.looks == [(39, 0)] * 3


def test_a_prefix_that_was_computed_before_is_not_computed_again() -> None:
    model = CachingModelRunner(2, 200, num_blocks=8)
    engine = new_engine(model, 2, chunk=500, num_blocks=8)
    prefix = list(range(40)) * 2
    first, second, third = Caller(), Caller(), Caller()
    engine.submit(sequence(first, [*prefix, 1], 3))
    first.result()
    model.prefill_sizes.clear()
    engine.submit(sequence(second, [*prefix, 2], 3))
    text, last = second.result()
    engine.submit(sequence(third, prefix[:64], 3))
    third_text, third_last = third.result()
    engine.stop()

    assert text == expected_text([*prefix, 2], 3)
    assert third_text == expected_text(prefix[:64], 3)
    assert last.usage == Usage(81, 3, 64)
    assert third_last.usage == Usage(64, 3, 32)  # one token at least is read anew
    assert model.prefill_sizes[0] == 17


def test_the_answer_is_part_of_the_next_turns_prefix() -> None:
    engine = new_engine(CachingModelRunner(1, 200, num_blocks=8), 1, chunk=500, num_blocks=8)
    prompt_ids = [3] * 30
    first, second = Caller(), Caller()
    engine.submit(sequence(first, prompt_ids, 40))
    answer = [int(token) for token in first.result()[0].split()]
    engine.submit(sequence(second, [*prompt_ids, *answer, 7], 2))
    _, last = second.result()
    engine.stop()

    assert last.usage == Usage(71, 2, 64)


def test_an_answer_that_repeats_is_guessed_and_stays_the_same() -> None:
    model = CachingModelRunner(1, 400)
    form = [4, 5, 6, 7, 8, 9]

    class Repeats(CountsInTens):
        @property
        def next_id(self) -> int:
            return form[len(self.accepted) % len(form)]

        def forced(self) -> list[int]:
            return []

    engine = new_engine(model, 1)
    caller = Caller()
    engine.submit(sequence(caller, [1], 120, constraint=Repeats(120), num_guesses=7))
    text, _ = caller.result()
    engine.stop()

    assert text == "".join(f"{token} " for token in form * 20)
    assert model.num_calls < 60


def test_an_idle_engine_gives_the_memory_of_its_slots_and_passes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.onnx.engine.REST_S", 0.01)
    is_trimmed = threading.Event()

    class WatchedRunner(CachingModelRunner):
        trimmed: ClassVar[list[tuple[int, int]]] = []
        num_rests = 0

        def rest(self) -> None:
            self.num_rests += 1
            raise BackendError("the last pass failed")

        def trim_slot(self, slot: int, length: int) -> None:
            super().trim_slot(slot, length)
            self.trimmed.append((slot, length))
            if slot == 1 and length == 0:
                is_trimmed.set()

    runner = WatchedRunner(2, MAX_LENGTH)
    engine = new_engine(runner, num_slots=2)
    try:
        texts = []
        for _ in range(2):  # at rest, and again
            caller = Caller()
            engine.submit(sequence(caller, [3, 4, 5], 6))
            texts.append(caller.result()[0])
            assert is_trimmed.wait(WAIT_S)
            is_trimmed.clear()
    finally:
        engine.stop()
    assert texts == [expected_text([3, 4, 5], 6)] * 2
    assert (0, 0) in runner.trimmed
    assert runner.num_rests >= 2


def test_what_runs_is_told_now_and_then_and_when_nothing_does_any_more() -> None:
    is_over = threading.Event()

    class Watcher(NobodyObserves):
        told: ClassVar[list[tuple[int, int, int]]] = []

        def ran(self, num_running: int, num_waiting: int, num_cached_tokens: int) -> None:
            self.told.append((num_running, num_waiting, num_cached_tokens))
            if not num_running:
                is_over.set()

    watcher, caller, next_caller = Watcher(), Caller(), Caller()
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH), 1, starts=False, observer=watcher)
    engine._scheduler.add(sequence(caller, [1, 2], 40))
    engine._scheduler.add(sequence(next_caller, [3], 40))
    engine.start()
    assert is_over.wait(WAIT_S)
    engine.stop()

    assert watcher.told[0][:2] == (1, 1)
    assert watcher.told[0][2] > 0
    assert watcher.told[-1] == (0, 0, 0)
    assert len(watcher.told) < 80


def test_log_probabilities_are_the_models_own() -> None:
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH), 1)
    caller = Caller()
    parameters = SamplingParameters(top_logprobs=2, presence_penalty=2)
    engine.submit(sequence(caller, [1, 2], 3, parameters=parameters))
    chunks = [caller.events.get(timeout=WAIT_S) for _ in range(3)]
    engine.stop()

    likeliest = -np.log(1 + (VOCAB_SIZE - 1) * np.exp(-5))
    for chunk in chunks:
        assert isinstance(chunk, TokenChunk)
        (logprob,) = chunk.logprobs
        assert chunk.text == f"{logprob.token} "
        assert logprob.logprob == pytest.approx(likeliest)
        assert logprob.alternatives[0].token == logprob.token
        assert [alternative.logprob for alternative in logprob.alternatives] == pytest.approx(
            [likeliest, likeliest - 5]
        )


def test_the_urgent_go_first_and_nobody_waits_for_ever() -> None:
    model = CachingModelRunner(1, 10_000)
    engine = new_engine(model, 1, starts=False)
    order: list[str] = []

    def named(name: str, priority: int) -> Sequence:
        work = sequence(Caller(), [1], 1, priority=priority)
        work.emit = lambda _: order.append(name)
        return work

    engine_started = Caller()
    with_room = [named("patient", 5), *(named(f"urgent {i}", 0) for i in range(40))]
    for work in with_room:
        engine._scheduler.add(work)
    engine.start()
    engine.submit(sequence(engine_started, [1], 1, priority=9))
    engine_started.result()
    engine.stop()

    assert order[0] == "urgent 0"
    assert order.index("patient") == 16
    assert order[17:] == [f"urgent {i}" for i in range(16, 40)]


def test_the_watchdog_tells_of_a_step_that_hangs_and_of_an_engine_that_failed() -> None:
    told: queue.Queue[str] = queue.Queue()
    model = CachingModelRunner(2, MAX_LENGTH)
    goes_on = threading.Event()
    prefill = model.prefill

    def hanging_prefill(*arguments: Any, **options: Any) -> Floats:
        goes_on.wait(WAIT_S)
        return prefill(*arguments, **options)

    model.prefill = hanging_prefill  # type: ignore[method-assign]
    engine = new_engine(model, 2)
    watchdog = Watchdog(engine, 0.05, told.put)
    watchdog.start()
    caller = Caller()
    assert engine.step_s == 0
    engine.submit(sequence(caller, [1, 2], 3))

    assert told.get(timeout=WAIT_S) == "a step of the engine takes longer than 0.05 s"
    goes_on.set()
    caller.result()
    watchdog.stop()
    engine.stop()

    watchdog = Watchdog(engine, 0.05, told.put)
    watchdog.start()
    assert told.get(timeout=WAIT_S) == "the engine failed"
    watchdog.stop()


def test_the_watchdog_is_silent_while_all_is_well() -> None:
    told: list[str] = []
    engine = new_engine(CachingModelRunner(1, MAX_LENGTH), 1)
    watchdog = Watchdog(engine, WAIT_S, told.append)
    watchdog.start()
    caller = Caller()
    engine.submit(sequence(caller, [1, 2], 3))
    caller.result()
    watchdog.stop()
    engine.stop()

    assert told == []
