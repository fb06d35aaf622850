"""Recorded work: it is done once, outlives its process, and ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from adapters.infernet import build_codec
from adapters.journal import MemoryJournal
from adapters.scripted import ScriptedTextGenerator
from domain.chain import ChainFormat
from domain.errors import (
    BackendError,
    DeadlineExceededError,
    InProgressError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    UnavailableError,
)
from domain.generation import SamplingParameters
from domain.job_service import JobOptions, JobService
from domain.jobs import Job, JobOutcome, JobRequest, JobState, StoredReply
from domain.requests import InfernetInput, LLMRequest
from domain.runner import RunnerLimits, WorkflowRunner
from domain.served_workflow import ServedWorkflow
from domain.workflow import LLMInferenceWorkflow, WorkflowPorts

FAST = JobOptions(poll_s=0.01, lease_s=2.0)
TIMEOUT_S = 5.0


class Steered(LLMInferenceWorkflow):
    """Answers when the test lets it, and counts how often it is asked."""

    def __init__(self, *, makes_proofs: bool = False) -> None:
        self.makes_proofs = makes_proofs
        self.num_asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: list[Exception] = []

    def proves(self, *, is_required: bool) -> bool:
        return self.makes_proofs

    async def preprocess(self, request: LLMRequest) -> LLMRequest:
        return request

    async def generate(self, prompt: LLMRequest) -> str:
        self.num_asked += 1
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return f"{prompt.text} {self.num_asked}"

    async def postprocess(self, generation: str, request: LLMRequest) -> str:
        return generation


class SlowJournal(MemoryJournal):
    """Tells that a row is written only when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.num_added = 0

    async def add(self, job: JobRequest, *, now_s: float, claimant: str | None, lease_s: float) -> Job:
        added = await super().add(job, now_s=now_s, claimant=claimant, lease_s=lease_s)
        self.num_added += 1
        await self.gate.wait()
        return added


class FullDiskJournal(MemoryJournal):
    """Cannot store the next outcomes."""

    num_failures = 1

    async def finish(self, *arguments: Any, **options: Any) -> bool:
        if self.num_failures:
            self.num_failures -= 1
            raise JournalError("the disk is full")
        return await super().finish(*arguments, **options)


class Ended:
    """Remembers how attempts ended."""

    def __init__(self) -> None:
        self.states: list[JobState] = []

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        self.states.append(state)


@asynccontextmanager
async def serving(
    workflow: Steered,
    journal: MemoryJournal | None = None,
    options: JobOptions = FAST,
    observer: Ended | None = None,
    *,
    now: Callable[[], float] = time.time,
    declaration: str = "declared",
) -> AsyncIterator[tuple[JobService, ServedWorkflow]]:
    generator = ScriptedTextGenerator()
    await generator.open()
    runner = WorkflowRunner("steered", workflow, RunnerLimits())
    served = ServedWorkflow(runner, build_codec(ChainFormat()), declaration)
    loop = asyncio.get_running_loop()
    await served.open(
        WorkflowPorts(generator, None, None, None, None, SamplingParameters(), loop),
    )
    await served.identify()
    service = JobService(journal or MemoryJournal(), {"steered": served}, options, observer or Ended(), now)
    await service.open()
    try:
        yield service, served
    finally:
        await service.close()
        await served.close()


def asking(text: str = "hello", **fields: Any) -> InfernetInput:
    return InfernetInput.model_validate({"source": 1, "data": text, **fields})


async def finished(service: JobService, job: Job) -> Job:
    return await service.get(job.job_id, job.owner, wait_s=TIMEOUT_S)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await asyncio.sleep(0.005)


def left_behind(served: ServedWorkflow, request: InfernetInput, job_id: str = "left") -> JobRequest:
    digest = served.digest_of(request)
    payload = request.model_dump(mode="json")
    return JobRequest(job_id, "o", "steered", served.identity, payload, digest, key=None)


async def test_what_a_process_left_behind_is_done_by_the_next() -> None:
    journal = MemoryJournal()
    async with serving(Steered(), journal) as (service, served):
        request = left_behind(served, asking())
        await journal.add(request, now_s=time.time() - 60, claimant="one that died", lease_s=10)
        job = await service.get("left", "o", wait_s=TIMEOUT_S)

    assert job.state is JobState.SUCCEEDED
    assert job.num_attempts == 2
    assert job.outcome is not None
    assert job.outcome.reply is not None
    assert job.outcome.reply.output == "hello 1"


async def test_what_was_accepted_is_done_however_long_the_service_was_down() -> None:
    journal = MemoryJournal()
    two_days_ago_s = time.time() - 2 * FAST.retention_s
    options = JobOptions(poll_s=0.01, max_running=1)
    async with serving(Steered()) as (_, served):
        accepted = [left_behind(served, asking(str(number)), str(number)) for number in range(3)]
        others = replace(accepted[0], job_id="others", identity="of a model that is gone")
    for request in (*accepted, others):
        await journal.add(request, now_s=two_days_ago_s, claimant=None, lease_s=10)
    async with serving(Steered(), journal, options) as (service, _):
        jobs = [await service.get(name, "o", wait_s=TIMEOUT_S) for name in ("0", "1", "2", "others")]

    assert [job.state for job in jobs] == [JobState.SUCCEEDED] * 3 + [JobState.FAILED]


async def test_a_proof_is_made_once_for_requests_that_are_the_same() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.gate.clear()
    async with serving(workflow) as (service, served):
        many = [asyncio.create_task(service.answer(served, asking(), "o", None)) for _ in range(5)]
        await until(lambda: workflow.num_asked == 1)
        workflow.gate.set()
        answers = await asyncio.gather(*many)
        later, is_replayed = await service.answer(served, asking(), "o", None)
        other, _ = await service.answer(served, asking("another"), "o", None)
        others, _ = await service.answer(served, asking(), "p", None)

    assert len({outcome.reply for outcome, _ in answers if outcome.reply}) == 1
    assert sorted(is_replayed for _, is_replayed in answers) == [False, True, True, True, True]
    assert later == answers[0][0]
    assert is_replayed
    assert other.reply is not None
    assert other.reply.output == "another 2"
    assert others.reply is not None
    assert others.reply.output == "hello 3"


async def test_a_proof_goes_on_for_the_retry_when_its_caller_leaves() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.gate.clear()
    async with serving(workflow) as (service, served):
        first = asyncio.create_task(service.answer(served, asking(), "o", None))
        await until(lambda: workflow.num_asked == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        retry = asyncio.create_task(service.answer(served, asking(), "o", None))
        await asyncio.sleep(0.02)
        workflow.gate.set()
        outcome, is_replayed = await retry

    assert workflow.num_asked == 1
    assert is_replayed
    assert outcome.state is JobState.SUCCEEDED


async def test_work_without_a_key_ends_when_its_caller_leaves() -> None:
    workflow = Steered()
    workflow.gate.clear()
    async with serving(workflow) as (service, served):
        asked = asyncio.create_task(service.answer(served, asking(), "o", None))
        await until(lambda: workflow.num_asked == 1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        (job,) = await service.page("o", limit=9, before=None)

    assert job.state is JobState.CANCELLED


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_caller_who_leaves_while_the_row_is_written_leaves_none_that_nobody_runs(
    key: str | None,
) -> None:
    journal, workflow = SlowJournal(), Steered()
    workflow.gate.clear()
    async with serving(workflow, journal, JobOptions(poll_s=0.01, lease_s=0.2)) as (service, served):
        runs_on = asyncio.create_task(service.submit(served, asking("one that runs on"), "o", None))
        asked = asyncio.create_task(service.answer(served, asking(), "o", key))
        await until(lambda: journal.num_added == 2)
        asked.cancel()
        journal.gate.set()
        await asyncio.gather(runs_on, asked, return_exceptions=True)
        await until(lambda: workflow.num_asked == (1 if key is None else 2))
        job = (await service.page("o", limit=9, before=None))[0]
        attempts = job.num_attempts
        workflow.gate.set()
        job = await finished(service, job)

    assert attempts == 1
    assert job.state is (JobState.CANCELLED if key is None else JobState.SUCCEEDED)


async def test_a_job_whose_outcome_could_not_be_stored_is_done_again() -> None:
    journal, workflow, ended = FullDiskJournal(), Steered(), Ended()
    options = JobOptions(poll_s=0.01, lease_s=0.2)
    async with serving(workflow, journal, options, ended) as (service, served):
        job = await service.submit(served, asking(), "o", None)
        await until(lambda: journal.num_failures == 0)
        workflow.gate.clear()
        await service.submit(served, asking("one that runs on"), "o", None)
        await until(lambda: workflow.num_asked == 3)
        workflow.gate.set()
        job = await finished(service, job)

    assert (job.state, job.num_attempts) == (JobState.SUCCEEDED, 2)
    assert ended.states[0] is JobState.QUEUED


async def test_a_waiting_caller_hears_that_the_outcome_could_not_be_stored() -> None:
    async with serving(Steered(), FullDiskJournal()) as (service, served):
        with pytest.raises(JournalError):
            await service.answer(served, asking(), "o", "k")


async def test_a_key_given_before_a_redeploy_stands_for_no_request_after_it() -> None:
    journal = MemoryJournal()
    async with serving(Steered(), journal) as (service, served):
        await service.answer(served, asking(), "o", "k")
    async with serving(Steered(), journal, declaration="the next version") as (service, served):
        again = await service.answer(served, asking(), "o", "k")
        with pytest.raises(InvalidRequestError, match="another request"):
            await service.answer(served, asking("another"), "o", "k")
    async with serving(Steered(), journal) as (service, served):
        rolled_back = await service.answer(served, asking(), "o", "k")

    assert [is_replayed for _, is_replayed in (again, rolled_back)] == [False, True]


async def test_a_job_is_tried_again_when_the_backend_fails() -> None:
    workflow, ended = Steered(), Ended()
    workflow.errors = [BackendError("gone"), BackendError("gone")]
    clock = time.time()
    async with serving(workflow, observer=ended, now=lambda: clock) as (service, served):
        job = await service.submit(served, asking(), "o", None)
        for _ in range(2):
            await until(lambda: bool(ended.states) and not service._running)
            clock += 60
            await asyncio.sleep(0.03)
        job = await finished(service, job)

    assert job.state is JobState.SUCCEEDED
    assert job.num_attempts == 3
    assert ended.states == [JobState.QUEUED, JobState.QUEUED, JobState.SUCCEEDED]


async def test_a_job_that_fails_each_time_is_given_up() -> None:
    workflow = Steered()
    workflow.errors = [BackendError("gone")] * 9
    options = JobOptions(poll_s=0.01, max_attempts=1)
    async with serving(workflow, options=options) as (service, served):
        job = await finished(service, await service.submit(served, asking(), "o", None))

    assert job.state is JobState.FAILED
    assert job.outcome is not None
    assert job.outcome.error is not None
    assert job.outcome.error.message == "gone"


async def test_a_job_that_takes_its_process_down_each_time_is_given_up() -> None:
    journal, workflow = MemoryJournal(), Steered()
    options = JobOptions(poll_s=0.01, max_attempts=1)
    async with serving(workflow, journal, options) as (service, served):
        request = left_behind(served, asking())
        await journal.add(request, now_s=time.time() - 60, claimant="one that died", lease_s=10)
        job = await service.get("left", "o", wait_s=TIMEOUT_S)

    assert job.state is JobState.FAILED
    assert workflow.num_asked == 0


async def test_an_error_of_a_waiting_caller_that_may_pass_leaves_nothing_behind() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.errors = [BackendError("gone"), DeadlineExceededError("late")]
    async with serving(workflow) as (service, served):
        with pytest.raises(BackendError):
            await service.answer(served, asking(), "o", None)
        outcome, _ = await service.answer(served, asking(), "o", None)
        again, is_replayed = await service.answer(served, asking(), "o", None)

    assert outcome.error is not None
    assert isinstance(outcome.error.error(), DeadlineExceededError)
    assert again.state is JobState.SUCCEEDED, "a failure of work nobody gave a key to is not kept"
    assert not is_replayed


async def test_callers_who_wait_for_a_proof_take_over_when_the_first_fails_in_passing() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.gate.clear()
    workflow.errors = [BackendError("gone")]
    async with serving(workflow) as (service, served):
        many = [asyncio.create_task(service.answer(served, asking(), "o", None)) for _ in range(4)]
        await until(lambda: workflow.num_asked == 1)
        await asyncio.sleep(0.02)
        workflow.gate.set()
        answers = await asyncio.gather(*many, return_exceptions=True)

    assert isinstance(answers[0], BackendError)
    outcomes = [answer[0] for answer in answers[1:] if isinstance(answer, tuple)]
    assert [outcome.reply and outcome.reply.output for outcome in outcomes] == ["hello 2"] * 3


async def test_each_caller_who_waits_for_a_proof_that_cannot_be_made_hears_why() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.errors = [BackendError("gone")] * 3
    async with serving(workflow) as (service, served):
        many = [service.answer(served, asking(), "o", None) for _ in range(3)]
        answers = await asyncio.gather(*many, return_exceptions=True)

    assert [type(answer) for answer in answers] == [BackendError] * 3


async def test_jobs_under_way_go_back_into_the_queue_at_shutdown() -> None:
    journal, workflow = MemoryJournal(), Steered()
    workflow.gate.clear()
    async with serving(workflow, journal) as (service, served):
        job = await service.submit(served, asking(), "o", None)
        await until(lambda: workflow.num_asked == 1)
    stopped = await journal.get(job.job_id, "o")
    assert stopped is not None
    assert stopped.state is JobState.QUEUED

    async with serving(Steered(), journal) as (service, _):
        assert (await finished(service, job)).state is JobState.SUCCEEDED


async def test_a_caller_who_waits_at_shutdown_is_told_so() -> None:
    workflow = Steered(makes_proofs=True)
    workflow.gate.clear()
    async with serving(workflow) as (service, served):
        asked = asyncio.create_task(service.answer(served, asking(), "o", None))
        await until(lambda: workflow.num_asked == 1)
    with pytest.raises(UnavailableError, match="stopping"):
        await asked


async def test_a_job_that_another_took_over_is_let_go() -> None:
    journal, workflow = MemoryJournal(), Steered()
    workflow.gate.clear()
    async with serving(workflow, journal) as (service, served):
        job = await service.submit(served, asking(), "o", None)
        await until(lambda: workflow.num_asked == 1)
        await journal.claim("another", [served.identity], now_s=time.time() + 60, lease_s=30, limit=1)
        await until(lambda: not service._running)
        taken = await journal.get(job.job_id, "o")

    assert taken is not None
    assert taken.state is JobState.RUNNING


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("poll_s", [0.01, 60.0], ids=["noticed", "not noticed"])
async def test_a_caller_whose_job_another_took_over_gets_what_that_one_stored(
    key: str | None, poll_s: float
) -> None:
    journal, workflow = MemoryJournal(), Steered()
    workflow.gate.clear()
    async with serving(workflow, journal, JobOptions(poll_s=poll_s)) as (service, served):
        asked = asyncio.create_task(service.answer(served, asking(), "o", key))
        await until(lambda: workflow.num_asked == 1)
        (job,) = await journal.claim(
            "another", [served.identity], now_s=time.time() + 60, lease_s=30, limit=1
        )
        await asyncio.sleep(0.05)
        workflow.gate.set()
        await asyncio.sleep(0.05)
        assert not asked.done()
        outcome = JobOutcome(JobState.SUCCEEDED, reply=StoredReply("the other's", 1, 1, None))
        await journal.finish(job.job_id, "another", outcome, now_s=time.time(), releases_key=False)
        answer = await asked

    assert answer == (outcome, False)


async def test_no_more_jobs_run_at_once_than_allowed() -> None:
    workflow = Steered()
    workflow.gate.clear()
    async with serving(workflow, options=JobOptions(poll_s=0.01, max_running=2)) as (service, served):
        jobs = [await service.submit(served, asking(str(n)), "o", None) for n in range(5)]
        await until(lambda: workflow.num_asked == 2)
        await asyncio.sleep(0.05)
        assert workflow.num_asked == 2
        workflow.gate.set()
        states = [(await finished(service, job)).state for job in jobs]

    assert states == [JobState.SUCCEEDED] * 5


async def test_a_waiting_caller_hears_that_the_job_was_cancelled() -> None:
    workflow = Steered()
    workflow.gate.clear()
    async with serving(workflow) as (service, served):
        asked = asyncio.create_task(service.answer(served, asking(), "o", "k"))
        await until(lambda: workflow.num_asked == 1)
        (job,) = await service.page("o", limit=9, before=None)
        with pytest.raises(InProgressError):
            await service.answer(served, asking(), "o", "k")
        with pytest.raises(InvalidRequestError):
            await service.answer(served, asking("another"), "o", "k")
        await service.remove(job.job_id, "o")
        with pytest.raises(NotFoundError, match="cancelled"):
            await asked
        workflow.gate.set()
        outcome, _ = await service.answer(served, asking(), "o", "k")

    assert outcome.state is JobState.SUCCEEDED, "a cancelled job gives its key back"


async def test_finished_jobs_go_when_their_time_is_over() -> None:
    clock = time.time()
    options = JobOptions(poll_s=0.01, retention_s=100)
    async with serving(Steered(), options=options, now=lambda: clock) as (service, served):
        job = await finished(service, await service.submit(served, asking(), "o", None))
        clock += 200
        await asyncio.sleep(0.05)
        with pytest.raises(NotFoundError):
            await service.get(job.job_id, "o")
