"""Lets in who brings one of the tokens (RFC 6750); health, greeting and OpenAPI document are for everyone."""

import hmac
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.access_tokens import AccessToken, token_digest
from domain.access import scope_for_path
from domain.errors import RateLimitError
from domain.rate_limit import RateLimits
from entrypoints.http.errors import error_response

OPEN_PATHS = frozenset({"/", "/health", "/health/ready", "/openapi.json", "/docs"})
PAGE_FILES = "/page/"
"""What the page for browsers is made of; its calls need a token all the same."""


def owner_of(request: Request) -> str:
    """Return whose request it is: a hash of its token, empty where there are no tokens."""
    return str(request.scope.get("state", {}).get("owner", ""))


class BearerMiddleware:
    """Answers 401 without a token, 403 without the scope, 429 beyond the rate.

    Notes whose a request is in ``state["owner"]``, and the token's name for the log.

    Args:
        app: what it protects.
        tokens: any of which is let in.
        rate_limits: of their bearers; each POST counts.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[AccessToken], rate_limits: RateLimits) -> None:
        self._app = app
        self._tokens = [(token.digest, token) for token in tokens]
        self._rate_limits = rate_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        token = self._bearers(Headers(scope=scope).get("authorization", ""))
        state: dict[str, Any] = scope.setdefault("state", {})
        state["owner"] = "" if token is None else token.owner
        facts = state.setdefault("log_facts", {})
        if token is not None and token.name is not None:
            facts["token_name"] = token.name
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(PAGE_FILES):
            return None
        if token is None:
            headers = {"WWW-Authenticate": "Bearer"}
            return error_response(scope, 401, "a bearer token of this service is needed", headers=headers)
        needed = scope_for_path(path)
        if needed not in token.scopes:
            headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}
            return error_response(scope, 403, f"this token does not have the scope {needed}", headers=headers)
        if scope["method"] == "POST":
            try:
                self._rate_limits.admit(token.owner)
            except RateLimitError as error:
                facts["error"] = type(error).__name__
                headers = {"Retry-After": str(error.retry_after_s)}
                return error_response(scope, 429, str(error), error=error, headers=headers)
        return None

    def _bearers(self, authorization: str) -> AccessToken | None:
        """Return the token; None where it is none of this service's."""
        scheme, _, word = authorization.partition(" ")
        given = token_digest(word.strip())
        # each is compared, and each in constant time, so that the time tells nothing
        matches = [token for digest, token in self._tokens if hmac.compare_digest(given, digest)]
        return matches[0] if scheme.lower() == "bearer" and matches else None
