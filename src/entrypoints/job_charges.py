"""Counts the tokens of jobs to those whose jobs they are, in the worker that did them."""

from domain.generation import Usage
from domain.jobs import Job, JobState
from domain.rate_limit import RateLimits


class JobCharges:
    """A ``JobObserver``; a job that is tried again is charged once."""

    def __init__(self, rate_limits: RateLimits) -> None:
        self._rate_limits = rate_limits

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        """Settle one that was done."""
        del duration_s, error
        reply = None if job.outcome is None else job.outcome.reply
        if state is JobState.SUCCEEDED and reply is not None:
            usage = Usage(reply.num_prompt_tokens, reply.num_completion_tokens)
            self._rate_limits.settle(job.owner, usage)
