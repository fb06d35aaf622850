"""The error tree: what failed, in words that are safe to show a caller.

An adapter translates the errors of its technology at its edge (``raise … from``), and the HTTP entrypoint
maps this tree once to status codes::

    ServiceError
    ├── InvalidRequestError            400  the caller can mend it
    │   └── ContextLengthError         400  the prompt leaves no room in the model's context
    │       └── PromptLimitError       400  the prompt is longer than the settings let it be
    ├── NotFoundError                  404  there is no such thing, or it is another's
    ├── InProgressError                409  the same is being done already
    ├── RateLimitError                 429  this caller has had their share for now
    ├── NotSupportedError              501  understood, and not offered
    ├── WorkflowError                  500  the workflow's own code failed
    │   ├── UnserialisableOutputError  500  it returned what JSON cannot hold
    │   └── EncodingError              500  it returned what its codec cannot put on chain
    ├── DeadlineExceededError          504  not done in time
    ├── UnavailableError               503  retry later
    │   ├── OverloadedError            503  as much work as allowed is already accepted
    │   ├── JournalError               503  the journal cannot be written
    │   ├── BackendError               503  the backend is unreachable, or failed
    │   └── ProverError                503  the prover failed on this request
    └── ConfigurationError                  stops start-up; never reaches a caller

Messages never hold a caller's text, a token or a key.
"""

from collections.abc import Callable
from dataclasses import dataclass


class ServiceError(Exception):
    """Base of every error that this service raises on purpose."""

    retryable = False


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with a request: ``field`` is a dotted path (``data.history.0``)."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class InvalidRequestError(ServiceError):
    """The request cannot be served as it stands; ``problems`` names each field and the reason."""

    def __init__(self, *problems: FieldProblem) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems

    def under(self, path: str) -> "InvalidRequestError":
        """Return the same problems with their fields inside of another."""
        return self.renamed(lambda field: f"{path}.{field}" if field else path)

    def renamed(self, name_of: Callable[[str], str]) -> "InvalidRequestError":
        """Return the same problems with other names of their fields."""
        problems = (FieldProblem(name_of(problem.field), problem.reason) for problem in self.problems)
        renamed = type(self).__new__(type(self))  # of the same kind, whatever its constructor takes
        InvalidRequestError.__init__(renamed, *problems)
        return renamed


class ContextLengthError(InvalidRequestError):
    """The prompt does not fit into the model's context with room for one token of answer."""

    def __init__(self, num_prompt_tokens: int | None = None, context_length: int | None = None) -> None:
        # OpenAI's first words: by them clients know that a shorter prompt would do
        known = f"{context_length} tokens. However," if context_length is not None else "exceeded:"
        prompt = "the prompt" if num_prompt_tokens is None else f"the prompt of {num_prompt_tokens} tokens"
        reason = f"This model's maximum context length is {known} {prompt} leaves no room for an answer"
        super().__init__(FieldProblem("", reason))


class PromptLimitError(ContextLengthError):
    """The prompt is longer than the settings let it be."""

    def __init__(self, num_prompt_tokens: int, max_prompt_tokens: int) -> None:
        reason = (
            f"the prompt of {num_prompt_tokens} tokens is longer than the limit of {max_prompt_tokens} tokens"
        )
        InvalidRequestError.__init__(self, FieldProblem("", reason))


class NotFoundError(ServiceError):
    """There is none of this name or id that the caller may see."""


class InProgressError(ServiceError):
    """A request with the same key is still being served; ``retry_after_s`` is a hint in whole seconds."""

    retryable = True
    retry_after_s = 1


class RateLimitError(ServiceError):
    """This caller has had their share for now; in ``retry_after_s`` whole seconds there is more."""

    retryable = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotSupportedError(ServiceError):
    """The request is understood, but this service does not offer what it asks for."""


class WorkflowError(ServiceError):
    """Code of the workflow raised; the cause is chained for the log, the caller is told the stage only."""


class UnserialisableOutputError(WorkflowError):
    """The workflow returned a value that is neither a string nor a JSON-serialisable object."""


class EncodingError(WorkflowError):
    """The workflow returned a value that its codec cannot put on chain."""


class DeadlineExceededError(ServiceError):
    """The work was not done within the time allowed."""

    retryable = True


class UnavailableError(ServiceError):
    """The service cannot take this request now; it may later.

    ``retry_after_s`` is a hint in whole seconds.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(UnavailableError):
    """As much work as the settings allow has already been accepted."""


class JournalError(UnavailableError):
    """The journal is full, locked or gone."""


class BackendError(UnavailableError):
    """The backend could not be reached or broke off."""


class ProverError(UnavailableError):
    """The proof could not be made; the prover goes on with other requests."""


class ConfigurationError(ServiceError):
    """Settings, the model or the workflow class cannot work; start-up ends with this one message."""
