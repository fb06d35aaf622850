"""Lets in who brings one of the tokens (RFC 6750); health, greeting and OpenAPI document are for everyone."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from entrypoints.http.errors import error_response

OPEN_PATHS = frozenset({"/", "/health", "/health/ready", "/openapi.json", "/docs"})
PAGE_FILES = "/page/"
"""What the page for browsers is made of; its calls need a token all the same."""
OWNER_DIGITS = 32


class BearerMiddleware:
    """Answers 401 without a token, and notes whose a request is in ``state["owner"]``.

    Args:
        app: what it protects.
        tokens: any of which is let in; without any, everyone is.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(token) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._digests:
            owner = self._owner(Headers(scope=scope).get("authorization", ""))
            if owner is None and not _is_open(scope["path"]):
                headers = {"WWW-Authenticate": "Bearer"}
                response = error_response(
                    scope, 401, "a bearer token of this service is needed", headers=headers
                )
                await response(scope, receive, send)
                return
            scope.setdefault("state", {})["owner"] = owner or ""
        await self._app(scope, receive, send)

    def _owner(self, authorization: str) -> str | None:
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip())
        # each is compared, and each in constant time, so that the time tells nothing
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return given.hex()[:OWNER_DIGITS] if scheme.lower() == "bearer" and any(matches) else None


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(PAGE_FILES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
