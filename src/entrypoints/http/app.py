"""``create_app``: the Starlette application over a wired container."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from domain.errors import ConfigurationError
from domain.tracing import NO_TRACES
from entrypoints.container import Container
from entrypoints.http.bearer import BearerMiddleware
from entrypoints.http.cors import cors
from entrypoints.http.errors import EXCEPTION_HANDLERS
from entrypoints.http.job_routes import JobRoutes
from entrypoints.http.lifespan import lifespan_of
from entrypoints.http.openai_api.routes import OpenAIOptions, OpenAIRoutes
from entrypoints.http.page import PageRoutes
from entrypoints.http.proof_routes import ProofRoutes
from entrypoints.http.request_log import RequestLogMiddleware
from entrypoints.http.routes import Routes
from entrypoints.http.trace import TraceMiddleware


def create_app(
    container: Container,
    *,
    on_start_failure: Callable[[ConfigurationError], None] | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> Starlette:
    """Return the application; it opens the container at start-up and closes it at shutdown.

    Args:
        container: the wired service, not yet open.
        on_start_failure: told when the service can never work as configured, before the lifespan fails; may
            end the process.
        on_start: called when the service is open.
    """
    routes = Routes(container)
    jobs = JobRoutes(container)
    settings, tracer = container.settings, container.tracer
    openai = OpenAIRoutes(
        container.direct,
        OpenAIOptions(
            settings.max_body_bytes,
            settings.default_parameters.max_tokens,
            body_timeout_s=settings.body_timeout_s,
            max_output_tokens=settings.max_output_tokens,
        ),
        container.rate_limits,
    )
    proofs = ProofRoutes(
        container.verifier,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
    )
    home = PageRoutes(routes.home).routes if settings.web_page else [Route("/", routes.home, methods=["GET"])]
    # the launcher has them on an address of their own
    metrics = [] if settings.admin_bind else [Route("/metrics", routes.metrics, methods=["GET"])]
    tokens, limits = settings.access_tokens, container.rate_limits

    return Starlette(
        routes=[
            Route("/service_output", routes.service_output, methods=["POST"]),  # tried in this order
            *home,
            Route("/health", routes.health, methods=["GET"]),
            Route("/health/ready", routes.ready, methods=["GET"]),
            Route("/inference", routes.service_output, methods=["POST"]),
            Route("/workflows/{name}/service_output", routes.service_output, methods=["POST"]),
            Route("/service_output/schema", routes.schema, methods=["GET"]),
            Route("/workflows/{name}/service_output/schema", routes.schema, methods=["GET"]),
            Route("/workflows", routes.workflows, methods=["GET"]),
            Route("/proofs/verify", proofs.verify, methods=["POST"]),
            Route("/openapi.json", routes.openapi, methods=["GET"]),
            *metrics,
            Route("/service-resources", routes.resources, methods=["GET"]),
            Route("/jobs", jobs.page, methods=["GET"]),
            Route("/jobs/{job_id}", jobs.job, methods=["GET", "DELETE"]),
            *openai.routes,
        ],
        middleware=[
            *([] if tracer is NO_TRACES else [Middleware(TraceMiddleware, tracer=tracer)]),
            Middleware(RequestLogMiddleware, observer=container.metrics),
            *cors(settings.cors_origins),
            *([Middleware(BearerMiddleware, tokens=tokens, rate_limits=limits)] if tokens else []),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan_of(container, on_start_failure, tracer, on_start),
    )
