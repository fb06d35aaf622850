"""From errors to responses: ``{"code": "400", "name": …, "description": …}`` with the true HTTP status.

``code`` is a string: an Infernet Node from 1.0 on takes any reply whose ``code`` is not "200" as an error.
Under ``/v1`` errors have OpenAI's form instead.
"""

import traceback
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from domain.errors import (
    DeadlineExceededError,
    InProgressError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    OverloadedError,
    RateLimitError,
    ServiceError,
    UnavailableError,
)
from entrypoints.http.openai_api.errors import openai_error_content

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

STATUS_OF_ERROR: dict[type[ServiceError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    NotFoundError: HTTPStatus.NOT_FOUND,
    InProgressError: HTTPStatus.CONFLICT,
    RateLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    NotSupportedError: HTTPStatus.NOT_IMPLEMENTED,
    DeadlineExceededError: HTTPStatus.GATEWAY_TIMEOUT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The nearest ancestor counts; an error that has none here is a 500."""


FAILED = "the service failed; the request id finds it in the log"
"""All that a caller is told of an error that nobody foresaw."""

OPENAI_PREFIX = "/v1/"

NOT_AGAIN = {"x-should-retry": "false"}
FINAL_STATUSES = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.GATEWAY_TIMEOUT})
"""OpenAI's clients would send the request again, to be answered the same."""

CLIENT_CLOSED_REQUEST = 499
"""Not a registered status: the one servers log for a caller who left; it is never seen."""


def error_content(status: int, description: str) -> dict[str, str]:
    """Return an error in the service's form."""
    return {"code": str(int(status)), "name": HTTPStatus(status).phrase, "description": description}


def error_content_for(
    scope: Scope, status: int, description: str, error: ServiceError | None = None
) -> dict[str, Any]:
    """Return an error in the form of the path that was asked for."""
    if _is_openai(scope):
        return openai_error_content(status, description, error)
    return error_content(status, description)


def error_response(
    scope: Scope,
    status: int,
    description: str,
    *,
    error: ServiceError | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return the response of an error, in the form of the path that was asked for."""
    content = error_content_for(scope, status, description, error)
    if _is_openai(scope) and status in FINAL_STATUSES:
        headers = {**(headers or {}), **NOT_AGAIN}
    return JSONResponse(content, status_code=status, headers=headers)


def status_of(error: ServiceError) -> HTTPStatus:
    """Return the HTTP status of a domain error."""
    ancestors = (STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)
    return next(ancestors, HTTPStatus.INTERNAL_SERVER_ERROR)


def status_for(scope: Scope, error: ServiceError) -> HTTPStatus:
    """Return the HTTP status of a domain error at the path that was asked for.

    OpenAI's clients know 429 for a service that has too much to do.
    """
    if _is_openai(scope) and isinstance(error, OverloadedError):
        return HTTPStatus.TOO_MANY_REQUESTS
    return status_of(error)


async def service_error_response(request: Request, error: Exception) -> Response:
    """Answer an error that the service raised on purpose; its message is safe to show."""
    if not isinstance(error, ServiceError):
        raise error
    status = status_for(request.scope, error)
    request.state.log_facts["error"] = type(error).__name__
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotSupportedError):
        log_failure(error)
    headers = None
    if isinstance(error, UnavailableError | InProgressError):
        headers = {"Retry-After": str(error.retry_after_s)}
    return error_response(request.scope, status, str(error), error=error, headers=headers)


async def http_exception_response(request: Request, error: Exception) -> Response:
    """Answer the framework's own errors (404, 405, 413 …) in the same form."""
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    return error_response(request.scope, error.status_code, error.detail, headers=headers)


async def disconnect_response(_: Request, error: Exception) -> Response:
    """End a request whose caller has gone."""
    if not isinstance(error, ClientDisconnect):
        raise error
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _is_openai(scope: Scope) -> bool:
    return str(scope["path"]).startswith(OPENAI_PREFIX)


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


EXCEPTION_HANDLERS: dict[Any, Any] = {
    HTTPException: http_exception_response,
    ServiceError: service_error_response,
    ClientDisconnect: disconnect_response,
}
"""Of every application here."""
