"""The floor: a bare Starlette application that returns the text of a JSON body."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    """Return ``data.text`` as JSON."""
    body = await request.json()
    return JSONResponse(body["data"]["text"])


async def health(_: Request) -> Response:
    """Tell that it listens."""
    return PlainTextResponse("ok")


app = Starlette(
    routes=[Route("/service_output", echo, methods=["POST"]), Route("/health", health, methods=["GET"])]
)
