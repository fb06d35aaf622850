"""``JobService``: work that is recorded before it starts, so that it outlives the process.

A request with a key is done once: whoever asks again gets the stored answer. Jobs that a process left behind
are taken up when their lease runs out, by whichever process comes first.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from domain.errors import (
    DeadlineExceededError,
    FieldProblem,
    InProgressError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    ServiceError,
    UnavailableError,
    WorkflowError,
)
from domain.jobs import Job, JobOutcome, JobRequest, JobState, StoredError, StoredReply
from domain.ports import Journal
from domain.requests import InfernetInput
from domain.served_workflow import ServedWorkflow
from domain.tracing import NO_TRACES, Attributes, Tracer

ResultT = TypeVar("ResultT")

DERIVED = "derived:"
GIVEN = "given:"
"""Where a key comes from; a caller's cannot be mistaken for one of ours, and stands for a request to one
workflow, model and circuit."""

_Retryable = UnavailableError
"""Tried again; a deadline that passed would pass again."""

ABANDONED = JobOutcome(
    JobState.FAILED,
    error=StoredError(
        WorkflowError.__name__, "no service came with the workflow, model and circuit it was accepted for"
    ),
)

WAIT_STEP_S = 0.1
PURGE_EVERY_S = 60.0
IDENTIFY_EVERY_S = 1.0
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Bounds on recorded work."""

    max_running: int = 8
    """Asynchronous jobs at once in a process."""
    max_attempts: int = 200
    """Many, since a process that is killed says nothing against the jobs it ran; yet a job that takes its
    process down each time must end."""
    lease_s: float = 10.0
    poll_s: float = 0.5
    retention_s: float = 86_400.0
    """How long finished jobs are kept, and accepted ones of a workflow that is not served any more."""
    request_timeout_s: float = 170.0
    """How long a request waits for another's job with the same key."""


class JobObserver(Protocol):
    """Is told how jobs end; for logs."""

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        """Take note of one attempt; the job has its outcome.

        ``state`` is ``queued`` where it will be tried again, ``running`` where another process has the job.
        """
        ...


class JobService:
    """Runs recorded requests.

    Args:
        journal: where they are recorded.
        workflows: by name.
        options: see ``JobOptions``.
        observer: is told of each attempt.
        now: seconds since the epoch.
        tracer: is told of each attempt.
    """

    def __init__(
        self,
        journal: Journal,
        workflows: Mapping[str, ServedWorkflow],
        options: JobOptions,
        observer: JobObserver,
        now: Callable[[], float] = time.time,
        *,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self._journal = journal
        self._workflows = workflows
        self._options = options
        self._observer = observer
        self._now = now
        self._tracer = tracer
        self._claimant = uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[JobOutcome | None]] = {}
        self._background: set[str] = set()
        self._unwatched: set[asyncio.Task[Any]] = set()
        """Steps that go on when their caller leaves."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._identification: asyncio.Task[None] | None = None
        self._purged_s = 0.0

    async def open(self) -> None:
        """Open the journal and take up what was left behind. Raises as ``Journal.open``."""
        await self._journal.open()
        self._identification = asyncio.create_task(self._identify())
        self._loop = asyncio.create_task(self._serve())

    async def finish(self) -> None:
        """Return when nothing is under way, and nothing left that this service may do."""
        if self._loop is not None:
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()

    async def close(self) -> None:
        """Stop; jobs under way go back into the queue, for the next start or another process."""
        if self._loop is not None and self._identification is not None:
            loop, self._loop = self._loop, None
            loop.cancel()
            self._identification.cancel()
            await asyncio.gather(loop, self._identification, return_exceptions=True)
        await asyncio.gather(*self._unwatched, return_exceptions=True)
        for job_id, task in list(self._running.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with suppress(JournalError):
                await self._journal.postpone(job_id, self._claimant, due_s=self._now())
        await self._journal.close()

    async def answer(
        self, workflow: ServedWorkflow, request: InfernetInput, owner: str, given_key: str | None
    ) -> tuple[JobOutcome, bool]:
        """Do a request and wait for it; returns the outcome, and whether it is that of an earlier request.

        When the waiting task is cancelled, work with a key goes on, and other work ends.

        Raises:
            InvalidRequestError: the request is wrong, or its key was used for another one.
            InProgressError: a request with the same key, given by the caller, is under way.
            ServiceError: what the workflow raised, where that is not kept.
        """
        asked = await self._asked(workflow, request, owner, given_key)
        deadline_s = time.monotonic() + self._options.request_timeout_s
        while True:
            recording = self._unwatch(self._recorded(asked))
            try:
                job, task = await asyncio.shield(recording)
                if task is None:
                    _check_same(job, asked)
                    if given_key is not None and not job.state.is_final:
                        raise InProgressError("a request with this Idempotency-Key is being served")
                else:
                    await asyncio.wait({task})
                outcome = self._own_outcome(task) or await self._stored_outcome(job, deadline_s)
            except asyncio.CancelledError:
                if asked.key is None:
                    await asyncio.shield(self._unwatch(self._leave(recording)))
                raise
            if outcome is not None:
                return outcome, task is None
            # the one that was waited for failed in passing and left nothing: this one takes its place

    async def submit(
        self, workflow: ServedWorkflow, request: InfernetInput, owner: str, given_key: str | None
    ) -> Job:
        """Record a request to be done later; with a key of which there is a job, return that one.

        Raises:
            InvalidRequestError: the request is wrong, or its key was used for another one.
        """
        asked = await self._asked(workflow, request, owner, given_key)
        job = await self._journal.add(asked, now_s=self._now(), claimant=None, lease_s=self._options.lease_s)
        _check_same(job, asked)
        self._wake.set()
        return job

    async def get(self, job_id: str, owner: str, *, wait_s: float = 0.0) -> Job:
        """Return a job, once it is finished or ``wait_s`` have passed.

        Raises:
            NotFoundError: there is none, or it is another's.
        """
        deadline_s = time.monotonic() + wait_s
        while True:
            job = await self._journal.get(job_id, owner)
            if job is None:
                raise NotFoundError("there is no job of this id")
            if job.state.is_final or time.monotonic() >= deadline_s:
                return job
            task = self._running.get(job_id)
            if task is not None:
                await asyncio.wait({task}, timeout=deadline_s - time.monotonic())
            else:
                await asyncio.sleep(min(WAIT_STEP_S, max(0.0, deadline_s - time.monotonic())))

    async def page(self, owner: str, *, limit: int, before: str | None) -> list[Job]:
        """Return an owner's jobs, the newest first."""
        return await self._journal.page(owner, limit=limit, before=before)

    async def remove(self, job_id: str, owner: str) -> Job | None:
        """Cancel a job, or erase it if it is finished (then None).

        Raises:
            NotFoundError: there is none, or it is another's.
        """
        job: Job | None = await self.get(job_id, owner)
        if job is not None and job.state.is_final:
            await self._journal.erase(owner=owner, job_id=job_id, before_s=None)
            return None
        job = await self._journal.cancel(job_id, owner, now_s=self._now())
        await self._end(job_id)
        return job

    async def _asked(
        self, workflow: ServedWorkflow, request: InfernetInput, owner: str, given_key: str | None
    ) -> JobRequest:
        workflow.check(request)
        await workflow.identify()
        digest = workflow.digest_of(request)
        key = None
        if given_key is not None:
            key = f"{GIVEN}{workflow.identity}:{given_key}"
        elif workflow.proves(request):
            key = DERIVED + digest
        return JobRequest(
            job_id=uuid.uuid4().hex,
            owner=owner,
            workflow=workflow.name,
            identity=workflow.identity,
            payload=request.model_dump(mode="json"),
            digest=digest,
            key=key,
        )

    def _own_outcome(self, task: asyncio.Task[JobOutcome | None] | None) -> JobOutcome | None:
        """Return how a job that was run here ended; None where it is another's, from the first or by now."""
        if task is None:
            return None
        if task.cancelled():
            if self._loop is None:
                raise UnavailableError("the service is stopping")
            return None
        return task.result()

    async def _stored_outcome(self, job: Job, deadline_s: float) -> JobOutcome | None:
        """Wait for another's job, until a time of the monotonic clock; None where it left nothing."""
        try:
            job = await self.get(job.job_id, job.owner, wait_s=deadline_s - time.monotonic())
        except NotFoundError:
            return None
        if job.state is JobState.CANCELLED:
            raise NotFoundError("the job was cancelled")
        if job.outcome is None:
            raise DeadlineExceededError("the request is still being served, elsewhere")
        return job.outcome

    async def _recorded(self, asked: JobRequest) -> tuple[Job, asyncio.Task[JobOutcome | None] | None]:
        """Record a request and start it; no task where there is a job of its key already."""
        job = await self._journal.add(
            asked, now_s=self._now(), claimant=self._claimant, lease_s=self._options.lease_s
        )
        return job, self._start(job, is_waited_for=True) if job.job_id == asked.job_id else None

    async def _leave(self, recording: asyncio.Task[tuple[Job, Any]]) -> None:
        """End a job without a key, whose caller has gone."""
        with suppress(ServiceError):  # of the caller's, who is not there to hear it
            job, _ = await recording
            await self._end(job.job_id)
            await self._journal.cancel(job.job_id, job.owner, now_s=self._now())

    def _unwatch(self, step: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        task = asyncio.create_task(step)
        self._unwatched.add(task)
        task.add_done_callback(self._unwatched.discard)
        return task

    def _start(self, job: Job, *, is_waited_for: bool) -> asyncio.Task[JobOutcome | None]:
        task = asyncio.create_task(self._traced_run(job, is_waited_for=is_waited_for))
        self._running[job.job_id] = task
        if not is_waited_for:
            self._background.add(job.job_id)

        def ended(finished: asyncio.Task[JobOutcome | None]) -> None:
            self._running.pop(job.job_id, None)
            self._background.discard(job.job_id)
            self._wake.set()
            if not finished.cancelled():
                finished.exception()  # whoever waits has it; nobody may

        task.add_done_callback(ended)
        return task

    async def _end(self, job_id: str) -> None:
        task = self._running.get(job_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _traced_run(self, job: Job, *, is_waited_for: bool) -> JobOutcome | None:
        attributes: Attributes = {"llm.job.id": job.job_id, "llm.job.attempt": job.num_attempts}
        with self._tracer.span(f"job {job.workflow}", attributes):
            return await self._run(job, is_waited_for=is_waited_for)

    async def _run(self, job: Job, *, is_waited_for: bool) -> JobOutcome | None:
        """Make one attempt and store how it ended; None where the job is no longer this process's.

        Raises:
            ServiceError: of a waiting caller's, who may mend it or try again.
            JournalError: it could not be stored; when its lease is over, the job is taken up again.
        """
        started_s = time.monotonic()
        error: ServiceError | None = None
        try:
            outcome = await self._attempt(job)
        except ServiceError as caught:
            outcome, error = JobOutcome(JobState.FAILED, error=StoredError.of(caught)), caught
        is_callers = is_waited_for and isinstance(error, InvalidRequestError | _Retryable)
        is_mine = True
        state = JobState.QUEUED
        try:
            if is_callers:
                await self._journal.forget(job.job_id, self._claimant)
                state = JobState.FAILED
            elif isinstance(error, _Retryable) and job.num_attempts < self._options.max_attempts:
                due_s = self._now() + min(2.0 ** (job.num_attempts - 1), MAX_BACKOFF_S)
                await self._journal.postpone(job.job_id, self._claimant, due_s=due_s)
            else:
                is_askable = job.key is not None or not is_waited_for
                is_mine = await self._finish(job, outcome if is_askable else _without_text(outcome))
                state = outcome.state if is_mine else JobState.RUNNING
        except JournalError as failed:
            error = error or failed
            raise
        finally:
            self._observer.job_ended(
                replace(job, outcome=outcome), state, time.monotonic() - started_s, error
            )
        if error is not None and is_callers:
            raise error
        return outcome if is_mine else None

    async def _finish(self, job: Job, outcome: JobOutcome) -> bool:
        """Store an outcome; a failure of work that nobody gave a key to may be tried again."""
        releases_key = outcome.state is JobState.FAILED and (job.key or "").startswith(DERIVED)
        return await self._journal.finish(
            job.job_id, self._claimant, outcome, now_s=self._now(), releases_key=releases_key
        )

    async def _attempt(self, job: Job) -> JobOutcome:
        if job.num_attempts > self._options.max_attempts:
            raise WorkflowError(f"given up after {self._options.max_attempts} attempts")
        workflow = self._workflows.get(job.workflow)
        if workflow is None or job.payload is None:
            raise WorkflowError("the workflow is not served any more")
        try:
            reply = await workflow.answer(InfernetInput.model_validate(job.payload))
        except ServiceError:
            raise
        except Exception as error:
            raise WorkflowError(f"the service failed ({type(error).__name__})") from error
        stored = StoredReply.of(reply.output, reply.meter.usage, reply.meter.finish_reason)
        return JobOutcome(JobState.SUCCEEDED, reply=stored)

    async def _identify(self) -> None:
        """Find out which jobs each workflow may do; a backend that is not there yet leaves them waiting."""
        for workflow in self._workflows.values():
            while not workflow.identity:
                try:
                    await workflow.identify()
                except ServiceError:
                    await asyncio.sleep(IDENTIFY_EVERY_S)
        self._wake.set()

    async def _serve(self) -> None:
        while True:
            self._wake.clear()
            with suppress(JournalError):  # it may be back at the next turn
                await self._turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.poll_s):
                    await self._wake.wait()

    async def _turn(self) -> None:
        now_s = self._now()
        if self._running:
            running = dict(self._running)
            mine = await self._journal.renew(
                self._claimant, list(running), now_s=now_s, lease_s=self._options.lease_s
            )
            for job_id in running.keys() - set(mine):
                running[job_id].cancel()  # cancelled by its owner, or another process took it up
        identities = [workflow.identity for workflow in self._workflows.values() if workflow.identity]
        limit = self._options.max_running - len(self._background)
        if limit > 0:
            claimed = await self._journal.claim(
                self._claimant, identities, now_s=now_s, lease_s=self._options.lease_s, limit=limit
            )
            for job in claimed:
                self._start(job, is_waited_for=False)
            if not self._background:
                self._idle.set()
        if now_s - self._purged_s > PURGE_EVERY_S:
            self._purged_s = now_s
            before_s = now_s - self._options.retention_s
            if len(identities) == len(self._workflows):
                await self._journal.abandon(ABANDONED, identities, created_before_s=before_s, now_s=now_s)
            await self._journal.erase(owner=None, job_id=None, before_s=before_s)


def _without_text(outcome: JobOutcome) -> JobOutcome:
    reply = outcome.reply
    return outcome if reply is None else replace(outcome, reply=replace(reply, output=None))


def _check_same(job: Job, asked: JobRequest) -> None:
    if job.digest != asked.digest:
        raise InvalidRequestError(FieldProblem("Idempotency-Key", "was used for another request"))
