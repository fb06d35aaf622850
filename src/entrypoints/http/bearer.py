"""Lets in who brings one of the tokens (RFC 6750); health, greeting and OpenAPI document are for everyone."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.access_tokens import AccessToken
from domain.access import scope_for_path
from entrypoints.http.errors import error_response

OPEN_PATHS = frozenset({"/", "/health", "/health/ready", "/openapi.json", "/docs"})
PAGE_FILES = "/page/"
"""What the page for browsers is made of; its calls need a token all the same."""
OWNER_DIGITS = 32


class BearerMiddleware:
    """Answers 401 without a token, 403 without the scope, and notes whose a request is in ``state["owner"]``.

    Args:
        app: what it protects.
        tokens: any of which is let in; without any, everyone is.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[AccessToken]) -> None:
        self._app = app
        self._tokens = [(_digest(token.token.get_secret_value()), token) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._tokens:
            owner, token = self._bearer(Headers(scope=scope).get("authorization", ""))
            is_open = _is_open(scope["path"])
            if token is None and not is_open:
                headers = {"WWW-Authenticate": "Bearer"}
                response = error_response(
                    scope, 401, "a bearer token of this service is needed", headers=headers
                )
                await response(scope, receive, send)
                return
            needed = scope_for_path(scope["path"])
            if token is not None and not is_open and needed not in token.scopes:
                headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}
                response = error_response(
                    scope, 403, f"this token does not have the scope {needed}", headers=headers
                )
                await response(scope, receive, send)
                return
            scope.setdefault("state", {})["owner"] = owner
        await self._app(scope, receive, send)

    def _bearer(self, authorization: str) -> tuple[str, AccessToken | None]:
        """Return the owner's id and the token; an empty id and None where it is none of this service's."""
        scheme, _, word = authorization.partition(" ")
        given = _digest(word.strip())
        # each is compared, and each in constant time, so that the time tells nothing
        matches = [token for digest, token in self._tokens if hmac.compare_digest(given, digest)]
        if scheme.lower() != "bearer" or not matches:
            return "", None
        return given.hex()[:OWNER_DIGITS], matches[0]


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(PAGE_FILES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
