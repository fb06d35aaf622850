"""From the client library's errors to the domain's; the most specific wins. Messages of servers stay out."""

import re
from http import HTTPStatus

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError

from domain.errors import (
    BackendError,
    ContextLengthError,
    DeadlineExceededError,
    FieldProblem,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    ServiceError,
)

CREDENTIALS_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
CALLERS_FAULT = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 422})
_CONTEXT_WORDS = re.compile(r"context[ _](length|size|window)|maximum context|exceed_context", re.IGNORECASE)


def translated(error: Exception) -> ServiceError:
    """Return the domain's error for one of the ``openai`` or ``httpx2`` library."""
    match error:
        case APITimeoutError() | httpx2.TimeoutException():
            return DeadlineExceededError("the backend did not answer in time")
        case APIStatusError():
            return _of_status(error)
        case APIConnectionError() | httpx2.TransportError():
            return BackendError("the backend cannot be reached, or broke the connection off")
        case _:
            return BackendError("the backend sent what is no answer")


def _of_status(error: APIStatusError) -> ServiceError:
    status = error.status_code
    if status in CREDENTIALS_REFUSED:
        return BackendError("the backend refused this service's own credentials")
    retry_after = error.response.headers.get("retry-after", "")
    wait_s = int(retry_after) if retry_after.isdecimal() else 1
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return OverloadedError("the backend is overloaded", retry_after_s=wait_s)
    if status in CALLERS_FAULT:
        is_too_long = _CONTEXT_WORDS.search(error.response.text)
        problem = FieldProblem("", f"the backend refused the request ({status})")
        return ContextLengthError() if is_too_long else InvalidRequestError(problem)
    match status:
        case HTTPStatus.NOT_IMPLEMENTED:
            return NotSupportedError("the backend does not offer what the request asks for")
        case HTTPStatus.GATEWAY_TIMEOUT:
            return DeadlineExceededError("the backend did not answer in time")
        case _:
            return BackendError(f"the backend failed ({status})", retry_after_s=wait_s)
