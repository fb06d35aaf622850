"""The nouns of recorded work: a job, what it asks, how it ended.

::

    queued ─► running ─► succeeded | failed
       ▲         │
       └─────────┘  postponed, or its process ended: the lease runs out
    queued, running ─► cancelled
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from domain.errors import (
    DeadlineExceededError,
    FieldProblem,
    InProgressError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    ServiceError,
    UnavailableError,
    WorkflowError,
)
from domain.generation import FinishReason, Usage

ERROR_FAMILIES: tuple[type[ServiceError], ...] = (
    InvalidRequestError,
    NotFoundError,
    InProgressError,
    NotSupportedError,
    DeadlineExceededError,
    UnavailableError,
    WorkflowError,
)
"""What an error is stored as: the first of these that it is one of."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A workflow's reply, as far as it is kept."""

    output: str | dict[str, Any] | None
    """None where it was given to a caller who cannot ask for it again."""
    num_prompt_tokens: int
    num_completion_tokens: int
    finish_reason: str | None

    @classmethod
    def of(
        cls, output: str | dict[str, Any], usage: Usage, finish_reason: FinishReason | None
    ) -> "StoredReply":
        """Return what is kept of a reply."""
        reason = None if finish_reason is None else finish_reason.value
        return cls(output, usage.num_prompt_tokens, usage.num_completion_tokens, reason)


@dataclass(frozen=True, slots=True)
class StoredError:
    """An error, by the name of its family; its message holds no text of a caller's."""

    family: str
    message: str

    @classmethod
    def of(cls, error: ServiceError) -> "StoredError":
        """Return what is kept of an error."""
        family = next((f for f in ERROR_FAMILIES if isinstance(error, f)), WorkflowError)
        return cls(family.__name__, str(error))

    def error(self) -> ServiceError:
        """Return an error of the same family and message."""
        family = next((f for f in ERROR_FAMILIES if f.__name__ == self.family), WorkflowError)
        if family is InvalidRequestError:
            return InvalidRequestError(FieldProblem("", self.message))
        return family(self.message)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended: exactly one of ``reply`` and ``error``, or neither for a cancelled one."""

    state: JobState
    reply: StoredReply | None = None
    error: StoredError | None = None


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What is recorded before the work starts."""

    job_id: str
    owner: str
    """A hash of the token that made it; empty where there are no tokens."""
    workflow: str
    identity: str
    """Of the workflow with its model and circuit: no other may do the job."""
    payload: dict[str, Any]
    """The InfernetInput, which holds the caller's text."""
    digest: str
    """Of workflow, model, circuit and payload: two requests with the same one ask the same."""
    key: str | None = None
    """Requests of an owner with the same key are one job."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the journal knows it."""

    job_id: str
    owner: str
    workflow: str
    digest: str
    key: str | None
    state: JobState
    payload: dict[str, Any] | None
    """None once it was erased."""
    num_attempts: int
    created_s: float
    finished_s: float | None
    outcome: JobOutcome | None = field(default=None)
