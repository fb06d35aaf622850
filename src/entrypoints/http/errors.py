"""From errors to responses: ``{"code": "400", "name": …, "description": …}`` with the true HTTP status.

``code`` is a string: an Infernet Node from 1.0 on takes any reply whose ``code`` is not "200" as an error.
"""

import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.errors import (
    DeadlineExceededError,
    InProgressError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    ServiceError,
    UnavailableError,
)

log = structlog.stdlib.get_logger()

STATUS_OF_ERROR: dict[type[ServiceError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    NotFoundError: HTTPStatus.NOT_FOUND,
    InProgressError: HTTPStatus.CONFLICT,
    NotSupportedError: HTTPStatus.NOT_IMPLEMENTED,
    DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The nearest ancestor counts; an error that has none here is a 500."""


def error_content(status: int, description: str) -> dict[str, str]:
    """Return an error in the service's form."""
    return {"code": str(int(status)), "name": HTTPStatus(status).phrase, "description": description}


def error_response(status: int, description: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the response of an error."""
    return JSONResponse(error_content(status, description), status_code=status, headers=headers)


def status_of(error: ServiceError) -> HTTPStatus:
    """Return the HTTP status of a domain error."""
    ancestors = (STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)
    return next(ancestors, HTTPStatus.INTERNAL_SERVER_ERROR)


async def service_error_response(request: Request, error: Exception) -> Response:
    """Answer an error that the service raised on purpose; its message is safe to show."""
    if not isinstance(error, ServiceError):
        raise error
    status = status_of(error)
    request.state.log_facts["error"] = type(error).__name__
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotSupportedError):
        log_failure(error)
    headers = None
    if isinstance(error, UnavailableError | InProgressError):
        headers = {"Retry-After": str(error.retry_after_s)}
    return error_response(status, str(error), headers=headers)


async def http_exception_response(_: Request, error: Exception) -> Response:
    """Answer the framework's own errors (404, 405, 413 …) in the same form."""
    if not isinstance(error, HTTPException):
        raise error
    return error_response(error.status_code, error.detail, headers=dict(error.headers or {}))


def log_failure(error: BaseException) -> None:
    """Log where an error came from, without its messages: they may quote a caller's text."""
    log.error("request failed", causes=_causes(error))


def _causes(error: BaseException | None) -> list[dict[str, Any]]:
    causes = []
    while error is not None:
        frames = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-5:]
        ]
        causes.append({"type": type(error).__name__, "frames": frames})
        error = error.__cause__ or error.__context__
    return causes
