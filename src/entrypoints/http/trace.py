"""Traces of HTTP: a span for each request of a caller, in the caller's own trace where it sends one."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.telemetry.metrics import METHODS
from domain.tracing import Attribute, SpanKind, Tracer
from entrypoints.http.request_log import QUIET_PATHS

UNTRACED_PATHS = QUIET_PATHS | {"/metrics"}
SERVER_ERROR = 500


class TraceMiddleware:
    """The outermost layer: what is logged inside knows its trace.

    Args:
        app: what is traced.
        tracer: told.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in UNTRACED_PATHS:
            await self._app(scope, receive, send)
            return
        method: str = scope["method"] if scope["method"] in METHODS else "_OTHER"
        facts: dict[str, Attribute] = {"http.request.method": method}

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["http.response.status_code"] = int(message["status"])
                ids = [value.decode() for name, value in message["headers"] if name == b"x-request-id"]
                facts["http.response.header.x-request-id"] = ids
            await send(message)

        headers = _headers(scope)
        with self._tracer.continued(headers), self._tracer.span(method, facts, SpanKind.SERVER) as span:
            try:
                await self._app(scope, receive, noting_send)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route is not None:
                    facts["http.route"] = route
                    span.rename(f"{method} {route}")
                span.set(facts)
                status = facts.get("http.response.status_code")
                if isinstance(status, int) and status >= SERVER_ERROR:
                    span.fail(str(status))


class ContinuedTraceMiddleware:
    """For the engine's process: what it does is part of what a worker does, and no request of a caller's."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracer.continued(_headers(scope)):
            await self._app(scope, receive, send)


def _headers(scope: Scope) -> dict[str, str]:
    wanted = {b"traceparent", b"tracestate"}
    return {str(name, "ascii"): str(value, "latin-1") for name, value in scope["headers"] if name in wanted}
