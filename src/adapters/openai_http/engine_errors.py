"""From the engine process's errors back to the domain's, messages included: they are our own."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from domain.errors import (
    BackendError,
    ContextLengthError,
    DeadlineExceededError,
    FieldProblem,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    PromptLimitError,
    ServiceError,
    UnavailableError,
)

PLAIN_ERRORS: dict[Any, type[ServiceError]] = {
    "not_supported": NotSupportedError,
    "deadline_exceeded": DeadlineExceededError,
}
PASSING_ERRORS: dict[Any, type[UnavailableError]] = {
    "overloaded": OverloadedError,
    "unavailable": UnavailableError,
}
_NUMBER_OF_TOKENS = re.compile(r"(prompt|context|limit)(?: length is| of) (\d+) tokens")


def gone() -> BackendError:
    """Return what a request is told when the engine cannot be reached, or its connection broke."""
    return BackendError("the engine broke off or is being started again")


def engine_error(status: int | None, content: Any, retry_after: str = "") -> ServiceError:
    """Return the domain's error for an answer of the engine's that is one.

    Args:
        status: of HTTP; None for an event of a stream.
        content: the object ``error`` of OpenAI's form.
        retry_after: the header.
    """
    if not isinstance(content, Mapping):
        return BackendError("the engine failed")
    code, message = content.get("code"), str(content.get("message"))
    error: ServiceError = BackendError("the engine failed")
    if code == "context_length_exceeded":
        numbers = {name: int(number) for name, number in _NUMBER_OF_TOKENS.findall(message)}
        error = ContextLengthError(numbers.get("prompt"), numbers.get("context"))
        if numbers.keys() == {"prompt", "limit"}:
            error = PromptLimitError(numbers["prompt"], numbers["limit"])
    elif code in PLAIN_ERRORS:
        error = PLAIN_ERRORS[code](message)
    elif code in PASSING_ERRORS:
        wait_s = int(retry_after) if retry_after.isdecimal() else 1
        error = PASSING_ERRORS[code](message, retry_after_s=wait_s)
    elif content.get("type") == "invalid_request_error" and status in (HTTPStatus.BAD_REQUEST, None):
        field = str(content.get("param") or "")
        error = InvalidRequestError(FieldProblem(field, message.removeprefix(f"{field}: ")))
    return error
