"""What every journal must do; a subclass says how to make one."""

import asyncio
from typing import Any

import pytest

from domain.jobs import JobOutcome, JobRequest, JobState, StoredError, StoredReply
from domain.ports import Journal

DONE = JobOutcome(JobState.SUCCEEDED, reply=StoredReply({"answer": "yes"}, 3, 4, "stop"))
FAILED = JobOutcome(JobState.FAILED, error=StoredError("WorkflowError", "it failed"))
MINE = ["i"]


def request(job_id: str, **fields: Any) -> JobRequest:
    given = {"owner": "o", "workflow": "w", "identity": "i", "payload": {"source": 1}, "digest": "d"}
    return JobRequest(**{**given, "job_id": job_id, **fields})


class JournalContract:
    """Subclasses give the fixture ``journal``, open."""

    @pytest.fixture
    def journal(self) -> Journal:
        raise NotImplementedError

    async def add(self, journal: Journal, job_id: str, claimant: str | None = None, **fields: Any) -> Any:
        return await journal.add(request(job_id, **fields), now_s=100, claimant=claimant, lease_s=10)

    async def claim(self, journal: Journal, claimant: str, now_s: float = 100, limit: int = 9) -> list[str]:
        jobs = await journal.claim(claimant, MINE, now_s=now_s, lease_s=10, limit=limit)
        return [job.job_id for job in jobs]

    async def finish(self, journal: Journal, job_id: str, claimant: str, **options: Any) -> bool:
        options = {"outcome": DONE, "releases_key": False, **options}
        outcome = options.pop("outcome")
        return await journal.finish(job_id, claimant, outcome, now_s=105, **options)

    async def test_a_job_goes_from_queued_to_its_outcome(self, journal: Journal) -> None:
        queued = await self.add(journal, "a")
        assert (queued.state, queued.num_attempts, queued.payload) == (JobState.QUEUED, 0, {"source": 1})

        assert await self.claim(journal, "c") == ["a"]
        running = await journal.get("a", "o")
        assert running is not None
        assert (running.state, running.num_attempts) == (JobState.RUNNING, 1)

        assert await self.finish(journal, "a", "c")
        done = await journal.get("a", "o")
        assert done is not None
        assert (done.state, done.outcome, done.finished_s) == (JobState.SUCCEEDED, DONE, 105)
        assert done.payload is None

    async def test_an_error_is_kept_too(self, journal: Journal) -> None:
        await self.add(journal, "a", "c")
        await self.finish(journal, "a", "c", outcome=FAILED)

        job = await journal.get("a", "o")
        assert job is not None
        assert job.outcome == FAILED

    async def test_a_job_that_is_claimed_at_once_is_nobody_elses(self, journal: Journal) -> None:
        job = await self.add(journal, "a", "c")

        assert (job.state, job.num_attempts) == (JobState.RUNNING, 1)
        assert await self.claim(journal, "other") == []
        assert not await self.finish(journal, "a", "other")

    async def test_claims_are_the_oldest_first_and_no_more_than_asked(self, journal: Journal) -> None:
        for job_id in "abc":
            await self.add(journal, job_id)

        assert await self.claim(journal, "c", limit=2) == ["a", "b"]
        assert await self.claim(journal, "c") == ["c"]

    async def test_jobs_of_workflows_that_are_not_served_here_are_left_alone(self, journal: Journal) -> None:
        await self.add(journal, "a", identity="another")

        assert await self.claim(journal, "c") == []

    async def test_a_lease_that_ran_out_lets_another_take_the_job(self, journal: Journal) -> None:
        await self.add(journal, "a", "c")

        assert await self.claim(journal, "d", now_s=109) == []
        assert await self.claim(journal, "d", now_s=111) == ["a"]
        assert not await self.finish(journal, "a", "c"), "the first has lost it"
        assert await self.finish(journal, "a", "d")
        job = await journal.get("a", "o")
        assert job is not None
        assert job.num_attempts == 2

    async def test_a_clock_that_is_set_back_leaves_no_job_behind(self, journal: Journal) -> None:
        await self.add(journal, "a", "c")

        assert await self.claim(journal, "d", now_s=60) == [], "by a little"
        assert await self.claim(journal, "d", now_s=9) == ["a"]

    async def test_a_lease_is_renewed_for_what_is_still_ones_own(self, journal: Journal) -> None:
        for job_id in "abcd":
            await self.add(journal, job_id, "c")
        await self.add(journal, "other", "e")
        await journal.cancel("b", "o", now_s=101)

        asked = ["a", "b", "c", "other", "nothing"]
        assert sorted(await journal.renew("c", asked, now_s=108, lease_s=10)) == ["a", "c"]
        assert await self.claim(journal, "f", now_s=115) == ["d", "other"], "what is not run is let go"
        assert await self.claim(journal, "f", now_s=119) == ["a", "c"]

    async def test_a_key_stands_for_one_job_of_its_owner(self, journal: Journal) -> None:
        first = await self.add(journal, "a", key="k")
        second = await self.add(journal, "b", key="k", digest="another")
        others = await self.add(journal, "c", key="k", owner="p")

        assert first.job_id == second.job_id == "a"
        assert second.digest == "d"
        assert others.job_id == "c"
        assert await journal.get("b", None) is None

    async def test_one_of_many_at_once_with_a_key_is_recorded(self, journal: Journal) -> None:
        jobs = await asyncio.gather(*(self.add(journal, str(n), key="k") for n in range(20)))

        assert len({job.job_id for job in jobs}) == 1

    async def test_a_key_is_released_where_the_outcome_says_so(self, journal: Journal) -> None:
        await self.add(journal, "a", "c", key="k")
        await self.finish(journal, "a", "c", outcome=FAILED, releases_key=True)

        assert (await self.add(journal, "b", key="k")).job_id == "b"

    async def test_a_key_outlives_success(self, journal: Journal) -> None:
        await self.add(journal, "a", "c", key="k")
        await self.finish(journal, "a", "c")

        again = await self.add(journal, "b", key="k")
        assert (again.job_id, again.outcome) == ("a", DONE)

    async def test_a_postponed_job_comes_back_when_it_is_due(self, journal: Journal) -> None:
        await self.add(journal, "a", "c")
        await journal.postpone("a", "c", due_s=150)

        assert await self.claim(journal, "d", now_s=149) == []
        assert await self.claim(journal, "d", now_s=150) == ["a"]

    async def test_a_forgotten_job_was_never_there(self, journal: Journal) -> None:
        await self.add(journal, "a", "c", key="k")
        await journal.forget("a", "other")
        assert await journal.get("a", "o") is not None
        await journal.forget("a", "c")

        assert await journal.get("a", "o") is None
        assert (await self.add(journal, "b", key="k")).job_id == "b"

    async def test_cancelling_ends_what_is_not_finished_and_nothing_else(self, journal: Journal) -> None:
        await self.add(journal, "queued", key="k")
        await self.add(journal, "running", "c")
        await self.add(journal, "done", "c")
        await self.finish(journal, "done", "c")

        for job_id, state in (("queued", "cancelled"), ("running", "cancelled"), ("done", "succeeded")):
            job = await journal.cancel(job_id, "o", now_s=101)
            assert job is not None
            assert job.state == state
        assert not await self.finish(journal, "running", "c")
        assert await self.claim(journal, "d", now_s=999) == []
        assert (await self.add(journal, "again", key="k")).job_id == "again"

    async def test_a_job_is_its_owners(self, journal: Journal) -> None:
        await self.add(journal, "a")

        assert await journal.get("a", "p") is None
        assert await journal.cancel("a", "p", now_s=101) is None
        assert await journal.page("p", limit=9, before=None) == []
        assert await journal.get("a", None) is not None

    async def test_pages_are_the_newest_first(self, journal: Journal) -> None:
        for job_id in "abcde":
            await self.add(journal, job_id)

        first = [job.job_id for job in await journal.page("o", limit=2, before=None)]
        second = [job.job_id for job in await journal.page("o", limit=9, before=first[-1])]
        assert (first, second) == (["e", "d"], ["c", "b", "a"])

    async def test_erasing_takes_finished_jobs_alone(self, journal: Journal) -> None:
        for job_id, owner in (("a", "o"), ("b", "o"), ("c", "p"), ("running", "o")):
            await self.add(journal, job_id, "c", owner=owner)
        for job_id in "abc":
            await self.finish(journal, job_id, "c")

        assert await journal.erase(owner=None, job_id=None, before_s=105) == 0
        assert await journal.erase(owner="o", job_id="c", before_s=None) == 0
        assert await journal.erase(owner="o", job_id="a", before_s=None) == 1
        assert await journal.erase(owner=None, job_id=None, before_s=106) == 2
        assert [job.job_id for job in await journal.page("o", limit=9, before=None)] == ["running"]

    async def test_old_jobs_that_nobody_runs_or_will_run_are_abandoned(self, journal: Journal) -> None:
        await self.add(journal, "queued", identity="another", key="k")
        await self.add(journal, "running", "c", identity="another")
        await self.add(journal, "mine")
        await self.add(journal, "mine too", "c")

        assert await journal.abandon(FAILED, MINE, created_before_s=100, now_s=105) == 0
        assert await journal.abandon(FAILED, MINE, created_before_s=101, now_s=105) == 1
        assert await journal.abandon(FAILED, MINE, created_before_s=101, now_s=115) == 1
        job = await journal.get("queued", "o")
        assert job is not None
        assert job.outcome == FAILED
        assert (await self.add(journal, "again", key="k")).job_id == "again"
        assert await self.claim(journal, "d", now_s=115) == ["mine", "mine too", "again"]

    async def test_closing_twice_is_no_harm(self, journal: Journal) -> None:
        await journal.close()
        await journal.close()
