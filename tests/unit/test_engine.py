"""Continuous batching: whatever the traffic, each answer is the one its prompt has alone."""

import queue
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.onnx.engine import Engine
from adapters.onnx.sampler import Floats, RowSampling
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import Event, LabelScoring, Sequence, TextEmbedding
from domain.errors import BackendError, OverloadedError, ServiceError, UnavailableError
from domain.generation import FinishReason, SamplingParameters, TokenChunk, Usage
from domain.stop_sequences import StopSequenceFilter
from tests.fakes.model_runner import VOCAB_SIZE, CachingModelRunner, next_token_id

MAX_LENGTH = 64
WAIT_S = 10


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


def sequence(
    caller: Caller, prompt_ids: list[int], max_tokens: int, eos: frozenset[int] = frozenset()
) -> Sequence:
    return Sequence(
        prompt_ids,
        max_tokens,
        eos,
        RowSampling(SamplingParameters(), prompt_ids),
        NumberDetokenizer(),  # type: ignore[arg-type] # it has the one method that is called
        StopSequenceFilter(()),
        caller.events.put,
    )


def expected_text(prompt_ids: list[int], max_tokens: int) -> str:
    token_ids = list(prompt_ids)
    for _ in range(max_tokens):
        token_ids.append(next_token_id(token_ids))
    return "".join(f"{token_id} " for token_id in token_ids[len(prompt_ids) :])


def new_engine(model: CachingModelRunner, num_slots: int, max_waiting: int = 100, chunk: int = 5) -> Engine:
    scheduler = Scheduler(num_slots=num_slots, max_waiting=max_waiting, prefill_chunk_tokens=chunk)
    engine = Engine(model, scheduler)
    engine.start()
    return engine


prompts = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=25)
requests = st.lists(st.tuples(prompts, st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


@settings(deadline=None)
@given(requests=requests, num_slots=st.integers(1, 4), chunk=st.integers(1, 8))
def test_each_answer_is_that_of_its_prompt_alone_while_others_come_go_and_are_cancelled(
    requests: list[tuple[list[int], int, bool]], num_slots: int, chunk: int
) -> None:
    engine = new_engine(CachingModelRunner(num_slots, MAX_LENGTH), num_slots, chunk=chunk)
    callers = []
    try:
        for prompt_ids, max_tokens, is_cancelled in requests:
            caller = Caller()
            work = sequence(caller, prompt_ids, max_tokens)
            engine.submit(work)
            if is_cancelled:
                engine.cancel(work)
            else:
                callers.append((caller, prompt_ids, max_tokens))
        for caller, prompt_ids, max_tokens in callers:
            text, last = caller.result()
            assert text == expected_text(prompt_ids, max_tokens)
            assert last.finish_reason is FinishReason.LENGTH
            assert last.usage == Usage(len(prompt_ids), max_tokens)
            assert caller.events.empty()
    finally:
        engine.stop()


def test_sequences_are_decoded_together_and_long_prompts_in_chunks() -> None:
    model = CachingModelRunner(4, MAX_LENGTH)
    scheduler = Scheduler(num_slots=4, max_waiting=4, prefill_chunk_tokens=5)
    callers = [Caller() for _ in range(4)]
    for index, caller in enumerate(callers):
        scheduler.add(sequence(caller, [index] * 12, 20))
    engine = Engine(model, scheduler)
    engine.start()
    for caller in callers:
        caller.result()
    engine.stop()

    assert max(model.decode_sizes) == 4
    assert max(model.prefill_sizes) == 5
    assert len(model.decode_sizes) < 4 * 19


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
    engine.submit(LabelScoring([7, 8, 9], labels, scored.put, errors.append))
    scores = scored.get(timeout=WAIT_S)
    text, _ = caller.result()
    engine.stop()

    assert errors == []
    assert scores[0] > scores[1]
    assert scores[2] == pytest.approx(2 * scores[0])
    assert text == expected_text([4, 5], 30)


def test_an_embedding_is_the_mean_of_its_tokens_states_whatever_the_chunks() -> None:
    model = CachingModelRunner(3, MAX_LENGTH)
    engine = new_engine(model, 3, chunk=4)
    caller, embedded = Caller(), queue.Queue[Floats]()
    errors: list[ServiceError] = []
    engine.submit(sequence(caller, [4, 5], 30))
    engine.submit(TextEmbedding([1, 2, 3, 3, 3, 4, 5, 5, 5, 5], embedded.put, errors.append))
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


def test_more_than_may_wait_are_refused() -> None:
    engine = new_engine(CachingModelRunner(1, 10_000), 1, max_waiting=2)
    running = Caller()
    engine.submit(sequence(running, [1], 9_000))
    running.events.get(timeout=WAIT_S)
    engine.submit(sequence(Caller(), [1], 5))
    engine.submit(sequence(Caller(), [1], 5))
    with pytest.raises(OverloadedError, match="already waiting"):
        engine.submit(sequence(Caller(), [1], 5))
    engine.stop()


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
