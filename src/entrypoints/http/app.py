"""``create_app``: the Starlette application over a wired container."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from domain.errors import ConfigurationError, ServiceError
from entrypoints.container import Container
from entrypoints.http.errors import http_exception_response, service_error_response
from entrypoints.http.request_log import RequestLogMiddleware
from entrypoints.http.routes import Routes


def create_app(container: Container) -> Starlette:
    """Return the application; it opens the container at start-up and closes it at shutdown."""
    routes = Routes(container)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            await container.open()
        except ConfigurationError as error:
            raise SystemExit(f"llm-inference-service cannot start: {error}") from None
        try:
            yield
        finally:
            await container.close()

    return Starlette(
        routes=[
            Route("/", routes.home, methods=["GET"]),
            Route("/health", routes.health, methods=["GET"]),
            Route("/health/ready", routes.ready, methods=["GET"]),
            Route("/service_output", routes.service_output, methods=["POST"]),
            Route("/inference", routes.service_output, methods=["POST"]),
            Route("/workflows/{name}/service_output", routes.service_output, methods=["POST"]),
        ],
        middleware=[
            Middleware(RequestLogMiddleware),
        ],
        exception_handlers={
            HTTPException: http_exception_response,
            ServiceError: service_error_response,
        },
        lifespan=lifespan,
    )
