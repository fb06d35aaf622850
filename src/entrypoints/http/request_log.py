"""Gives each request an id and writes one log line about it when it is over: times, counts, never its text.

The id comes from ``X-Request-ID`` when the caller sends a plain one, and goes out under the same name.
"""

import os
import re
import time
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entrypoints.http.errors import FAILED, error_response, log_failure

REQUEST_ID_PATTERN = re.compile(rb"[A-Za-z0-9._-]{1,128}")

QUIET_PATHS = frozenset({"/health", "/health/ready", "/metrics"})
"""Asked every few seconds by orchestrators, Prometheus and the page; logged at the level debug."""


UNROUTED = "none"
"""The route of what no route was found for."""


class RequestObserver(Protocol):
    """Is told of requests."""

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        """A request is over; 499 where the caller left before there was a status."""
        ...


class RequestLogMiddleware:
    """Outermost of the application's own layers: what passes it unhandled becomes a 500 here.

    Args:
        app: what is logged.
        is_quiet: whether all requests are logged at the level debug.
        observer: told of each request, with its route as a template.
    """

    def __init__(
        self, app: ASGIApp, *, is_quiet: bool = False, observer: RequestObserver | None = None
    ) -> None:
        self._app = app
        self._observer = observer
        self._is_quiet = is_quiet
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        facts: dict[str, Any] = scope.setdefault("state", {}).setdefault("log_facts", {})
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        started_s = time.monotonic()
        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001 - the last resort
            log_failure(error)
            if status is None:
                response = error_response(scope, 500, FAILED)
                await response(scope, receive, send_with_id)
        finally:
            duration_s = time.monotonic() - started_s
            route = getattr(scope.get("route"), "path", None)
            if self._observer is not None:
                self._observer.request_ended(scope["method"], route or UNROUTED, status or 499, duration_s)
            write = self._log.debug if self._is_quiet or scope["path"] in QUIET_PATHS else self._log.info
            write(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                duration_ms=round(duration_s * 1000, 1),
                **facts,
            )
            structlog.contextvars.reset_contextvars(**bound)


def _request_id(scope: Scope) -> str:
    """Return the id that the caller gave, where it is a plain one; otherwise 128 random bits in hex."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID_PATTERN.fullmatch(value):
            return str(value, "ascii")
    return os.urandom(16).hex()
