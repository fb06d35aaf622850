"""``MemoryJournal``: forgets everything with its process; for tests, and where nothing need last."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.errors import OverloadedError
from domain.jobs import Job, JobOutcome, JobRequest, JobState


@dataclass(slots=True)
class _Record:
    job: Job
    identity: str
    claimant: str | None
    lease_until_s: float
    due_s: float


class MemoryJournal:
    """Jobs in a dictionary, in the order in which they came.

    Args:
        max_jobs: finished ones make room, the oldest first.
        keeps_input: keep what was asked after a job is finished.
    """

    def __init__(self, max_jobs: int = 10_000, *, keeps_input: bool = False) -> None:
        self._max_jobs = max_jobs
        self._keeps_input = keeps_input
        self._records: dict[str, _Record] = {}

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def add(self, job: JobRequest, *, now_s: float, claimant: str | None, lease_s: float) -> Job:
        for record in self._records.values():
            if job.key is not None and (record.job.owner, record.job.key) == (job.owner, job.key):
                return record.job
        self._make_room()
        recorded = Job(
            job_id=job.job_id,
            owner=job.owner,
            workflow=job.workflow,
            digest=job.digest,
            key=job.key,
            state=JobState.QUEUED if claimant is None else JobState.RUNNING,
            payload=job.payload,
            num_attempts=0 if claimant is None else 1,
            created_s=now_s,
            finished_s=None,
        )
        self._records[job.job_id] = _Record(recorded, job.identity, claimant, now_s + lease_s, now_s)
        return recorded

    async def claim(
        self, claimant: str, identities: Sequence[str], *, now_s: float, lease_s: float, limit: int
    ) -> list[Job]:
        claimed: list[Job] = []
        for record in self._records.values():
            is_due = record.job.state is JobState.QUEUED and record.due_s <= now_s
            # much longer than one given now: the clock was set back
            is_over = not now_s <= record.lease_until_s <= now_s + 10 * lease_s
            is_left = record.job.state is JobState.RUNNING and is_over
            if record.identity in identities and (is_due or is_left) and len(claimed) < limit:
                attempts = record.job.num_attempts + 1
                record.job = replace(record.job, state=JobState.RUNNING, num_attempts=attempts)
                record.claimant, record.lease_until_s = claimant, now_s + lease_s
                claimed.append(record.job)
        return claimed

    async def renew(
        self, claimant: str, job_ids: Sequence[str], *, now_s: float, lease_s: float
    ) -> list[str]:
        records = [self._records[job_id] for job_id in job_ids if job_id in self._records]
        mine = [record for record in records if self._is_claimed(record, claimant)]
        for record in mine:
            record.lease_until_s = now_s + lease_s
        return [record.job.job_id for record in mine]

    async def finish(
        self, job_id: str, claimant: str, outcome: JobOutcome, *, now_s: float, releases_key: bool
    ) -> bool:
        record = self._records.get(job_id)
        if record is None or not self._is_claimed(record, claimant):
            return False
        self._end(record, outcome, now_s, releases_key=releases_key)
        return True

    async def postpone(self, job_id: str, claimant: str, *, due_s: float) -> None:
        record = self._records.get(job_id)
        if record is not None and self._is_claimed(record, claimant):
            record.job = replace(record.job, state=JobState.QUEUED)
            record.claimant, record.due_s = None, due_s

    async def forget(self, job_id: str, claimant: str) -> None:
        record = self._records.get(job_id)
        if record is not None and self._is_claimed(record, claimant):
            del self._records[job_id]

    async def abandon(
        self, outcome: JobOutcome, identities: Sequence[str], *, created_before_s: float, now_s: float
    ) -> int:
        left = [
            record
            for record in self._records.values()
            if record.job.created_s < created_before_s
            and record.identity not in identities
            and (
                record.job.state is JobState.QUEUED
                or (record.job.state is JobState.RUNNING and record.lease_until_s < now_s)
            )
        ]
        for record in left:
            self._end(record, outcome, now_s, releases_key=True)
        return len(left)

    async def get(self, job_id: str, owner: str | None) -> Job | None:
        record = self._records.get(job_id)
        is_visible = record is not None and owner in {None, record.job.owner}
        return record.job if record is not None and is_visible else None

    async def page(self, owner: str, *, limit: int, before: str | None) -> list[Job]:
        newest_first = [r.job for r in reversed(self._records.values()) if r.job.owner == owner]
        ids = [job.job_id for job in newest_first]
        start = ids.index(before) + 1 if before in ids else 0
        return newest_first[start : start + limit]

    async def cancel(self, job_id: str, owner: str, *, now_s: float) -> Job | None:
        record = self._records.get(job_id)
        if record is None or record.job.owner != owner:
            return None
        if not record.job.state.is_final:
            self._end(record, JobOutcome(JobState.CANCELLED), now_s, releases_key=True)
        return record.job

    async def erase(self, *, owner: str | None, job_id: str | None, before_s: float | None) -> int:
        erased = [
            record.job.job_id
            for record in self._records.values()
            if record.job.finished_s is not None
            and owner in {None, record.job.owner}
            and job_id in {None, record.job.job_id}
            and (before_s is None or record.job.finished_s < before_s)
        ]
        for finished in erased:
            del self._records[finished]
        return len(erased)

    def _is_claimed(self, record: _Record, claimant: str) -> bool:
        return record.job.state is JobState.RUNNING and record.claimant == claimant

    def _end(self, record: _Record, outcome: JobOutcome, now_s: float, *, releases_key: bool) -> None:
        record.job = replace(
            record.job,
            state=outcome.state,
            outcome=outcome,
            finished_s=now_s,
            key=None if releases_key else record.job.key,
            payload=record.job.payload if self._keeps_input else None,
        )

    def _make_room(self) -> None:
        while len(self._records) >= self._max_jobs:
            finished = next((i for i, r in self._records.items() if r.job.state.is_final), None)
            if finished is None:
                raise OverloadedError("the journal is full of jobs that are not finished")
            del self._records[finished]
