"""The scheduler under any traffic: no slot leaks, nobody starves, and what leaves disturbs nobody."""

from collections.abc import Sequence as Rows

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adapters.onnx.sampler import RowSampling
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import LabelScoring, Sequence, Work
from adapters.onnx.waiting_line import MAX_OVERTAKEN, WaitingLine
from domain.generation import SamplingParameters
from domain.stop_sequences import StopSequenceFilter

NUM_SLOTS = 4


def sequence(priority: int = 0) -> Sequence:
    return Sequence(
        prompt_ids=[1, 2, 3],
        emit_error=lambda _: None,
        priority=priority,
        max_tokens=8,
        eos_token_ids=frozenset(),
        sampling=RowSampling(SamplingParameters(), []),
        detokenizer=None,  # type: ignore[arg-type] # nothing is decoded here
        stop=StopSequenceFilter(()),
        emit=lambda _: None,
    )


class Traffic(RuleBasedStateMachine):
    """Requests come, are read, decode, finish and are cancelled, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(num_slots=NUM_SLOTS)
        self.alive: list[Work] = []
        self.slots: dict[int, int] = {}
        """Where each decoding sequence's keys and values really lie."""
        self.num_starts_since: dict[int, int] = {}

    @rule(priority=st.integers(0, 2), is_scoring=st.booleans())
    def add(self, priority: int, is_scoring: bool) -> None:
        work: Work = sequence(priority)
        if is_scoring:
            work = LabelScoring(
                prompt_ids=[1],
                emit_error=lambda _: None,
                priority=priority,
                label_ids=[[1]],
                emit_scores=lambda _: None,
            )
        self.scheduler.add(work)
        self.alive.append(work)
        self.num_starts_since[id(work)] = 0

    @rule()
    def step(self) -> None:
        for move in self.scheduler.compact():
            (moved,) = [key for key, slot in self.slots.items() if slot == move.source]
            assert move.target not in self.slots.values()
            self.slots[moved] = move.target
        was_waiting = {id(work) for work in self.alive if work.slot is None}
        work = self.scheduler.next_prefill()
        if work is not None and id(work) in was_waiting:
            for other in was_waiting - {id(work)}:
                self.num_starts_since[other] += 1

    @precondition(lambda self: self.scheduler.next_prefill() is not None)
    @rule()
    def read_a_prompt(self) -> None:
        work = self.scheduler.next_prefill()
        assert work is not None
        assert work.slot is not None
        assert work.slot not in self.slots.values()
        if isinstance(work, Sequence):
            work.num_cached = 3
            self.scheduler.start_decoding(work)
            self.slots[id(work)] = work.slot
        else:
            self.leave(work)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def finish_or_cancel(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(self.alive)))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def cancel_twice(self, data: st.DataObject) -> None:
        work = data.draw(st.sampled_from(self.alive))
        self.leave(work)
        self.scheduler.remove(work)

    def leave(self, work: Work) -> None:
        self.scheduler.remove(work)
        self.alive = [other for other in self.alive if other is not work]
        self.slots.pop(id(work), None)

    @invariant()
    def every_request_is_in_one_place(self) -> None:
        assert len(self.scheduler.running()) + self.scheduler.num_waiting == len(self.alive)
        assert {id(work) for work in self.scheduler.all_work()} == {id(work) for work in self.alive}
        assert self.scheduler.has_work == bool(self.alive)

    @invariant()
    def no_slot_has_two_owners(self) -> None:
        held = [work.slot for work in self.alive if work.slot is not None]
        assert len(held) == len(set(held)) <= NUM_SLOTS
        assert all(0 <= slot < NUM_SLOTS for slot in held)

    @invariant()
    def decoding_sequences_lie_where_their_keys_do(self) -> None:
        decoding = self.scheduler.decoding()
        assert {id(work): work.slot for work in decoding} == self.slots

    @invariant()
    def nobody_starves(self) -> None:
        # behind n others, at most (n + 1) * (MAX_OVERTAKEN + 1) requests start before it
        for work in self.alive:
            if work.slot is None:
                assert self.num_starts_since[id(work)] <= (len(self.num_starts_since)) * (MAX_OVERTAKEN + 1)


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestTraffic = Traffic.TestCase


def order(line: WaitingLine) -> Rows[Work]:
    works = []
    while (work := line.pop()) is not None:
        works.append(work)
    return works


def test_the_line_goes_by_priority_then_by_arrival() -> None:
    line = WaitingLine()
    works = [sequence(priority) for priority in (1, 0, 1, 0)]
    for work in works:
        line.add(work)

    assert list(line) == [works[1], works[3], works[0], works[2]]
    assert order(line) == [works[1], works[3], works[0], works[2]]
    assert len(line) == 0


def test_who_waits_longest_is_overtaken_so_often_and_no_more() -> None:
    line = WaitingLine()
    patient = sequence(1)
    line.add(patient)
    served = []
    for _ in range(2 * MAX_OVERTAKEN):
        line.add(sequence(0))
        served.append(line.pop())

    assert served.index(patient) == MAX_OVERTAKEN


def test_holes_are_left_to_those_who_wait_and_closed_when_nobody_does() -> None:
    scheduler = Scheduler(num_slots=3)
    works = [sequence() for _ in range(4)]
    for work in works:
        scheduler.add(work)
    for work in works[:3]:
        assert scheduler.next_prefill() is work
        work.num_cached = 5
        scheduler.start_decoding(work)
    assert scheduler.num_unread == 0
    scheduler.remove(works[0])
    assert scheduler.num_unread == 1

    assert scheduler.compact() == []
    assert scheduler.next_prefill() is works[3]
    assert works[3].slot == 0
    scheduler.remove(works[3])
    (move,) = scheduler.compact()
    assert (move.source, move.target, move.length) == (2, 0, 5)
    assert scheduler.decoding() == [works[2], works[1]]
