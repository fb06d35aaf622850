"""``/`` for browsers, ``/docs``, and the files that both are made of."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from entrypoints.http.negotiation import prefers_html

STATIC = Path(__file__).parent / "static"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # asked for again each time, and answered with 304: a page never has modules of two versions
    "Cache-Control": "no-cache",
}


class PageFiles(StaticFiles):
    """The static files, each with the headers that keep it to itself."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file, or 304 to who has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


class PageRoutes:
    """The page.

    Args:
        greeting: answers who asks for ``/`` and is no browser.
    """

    def __init__(self, greeting: Callable[[Request], Awaitable[Response]]) -> None:
        self._greeting = greeting
        self._files = PageFiles(directory=STATIC)

    @property
    def routes(self) -> list[BaseRoute]:
        """Path by path."""
        return [
            Route("/", self.home, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Mount("/page", self._files),
        ]

    async def home(self, request: Request) -> Response:
        """Show browsers the page, and greet everybody else in a line."""
        if not prefers_html(request.headers.get("accept", "")):
            return await self._greeting(request)
        return await self._document("index.html", request)

    async def docs(self, request: Request) -> Response:
        """Show the OpenAPI document."""
        return await self._document("docs.html", request)

    async def _document(self, name: str, request: Request) -> Response:
        response = await self._files.get_response(name, request.scope)
        response.headers["Vary"] = "Accept"
        return response
