"""Errors in OpenAI's form: ``{"error": {"message": …, "type": …, "param": …, "code": …}}``."""

from http import HTTPStatus
from typing import Any

from domain.errors import (
    ContextLengthError,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    OverloadedError,
    RateLimitError,
    ServiceError,
    UnavailableError,
)

CODE_OF_ERROR: dict[type[ServiceError], str] = {
    ContextLengthError: "context_length_exceeded",
    NotFoundError: "model_not_found",
    RateLimitError: "rate_limit_exceeded",
    NotSupportedError: "not_supported",
    DeadlineExceededError: "deadline_exceeded",
    OverloadedError: "overloaded",
    UnavailableError: "unavailable",
}
"""The nearest ancestor counts; there is no code for the others."""

TYPE_OF_STATUS = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def openai_error_content(status: int, message: str, error: ServiceError | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's form; ``error`` adds the field and the code."""
    return {
        "error": {
            "message": message,
            "type": TYPE_OF_STATUS.get(HTTPStatus(status), _type_of(status)),
            "param": _field_of(error),
            "code": _code_of(error),
        }
    }


def _type_of(status: int) -> str:
    is_callers = status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED
    return "invalid_request_error" if is_callers else "server_error"


def _field_of(error: ServiceError | None) -> str | None:
    match error:
        case NotFoundError():
            return "model"
        case InvalidRequestError():
            return next((problem.field for problem in error.problems if problem.field), None)
        case _:
            return None


def _code_of(error: ServiceError | None) -> str | None:
    codes = (CODE_OF_ERROR[kind] for kind in type(error).__mro__ if kind in CODE_OF_ERROR)
    return next(codes, None)
