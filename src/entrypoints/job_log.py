"""Who is told of attempts at jobs: the log gets a line for each, ids and times, never what it is about."""

import structlog

from domain.job_service import JobObserver
from domain.jobs import Job, JobState

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class JobLog:
    """The ``JobObserver`` on structlog."""

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        """Write the line."""
        log.info(
            "job",
            job_id=job.job_id,
            workflow=job.workflow,
            state=state.value,
            attempt=job.num_attempts,
            duration_ms=round(duration_s * 1000, 1),
            error=None if error is None else type(error).__name__,
        )


class JobObservers:
    """Several as one ``JobObserver``."""

    def __init__(self, *observers: JobObserver) -> None:
        self._observers = observers

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.job_ended(job, state, duration_s, error)
