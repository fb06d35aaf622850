"""``create_engine_app``: the application of the engine process, for this service's own workers.

It has the routes of OpenAI's API, without its defaults and with refusals and embeddings as the backend gives
them, and what that API has no words for. There are no tokens: the socket is for this user alone.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain.direct_runner import DirectRunner
from domain.errors import ConfigurationError
from domain.messages import ChatMessage
from domain.ports import TextGenerator
from domain.runner import RunnerLimits
from domain.tracing import NO_TRACES, Tracer
from domain.validation import validated
from entrypoints.http.body import read_json_object
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.errors import EXCEPTION_HANDLERS
from entrypoints.http.lifespan import lifespan_of
from entrypoints.http.openai_api.answer_forms import usage_content
from entrypoints.http.openai_api.routes import OpenAIOptions, OpenAIRoutes
from entrypoints.http.openai_api.sampling_fields import Fields
from entrypoints.http.request_log import RequestLogMiddleware
from entrypoints.http.trace import ContinuedTraceMiddleware

MAX_BODY_BYTES = 1 << 28
"""The workers check what callers send; a workflow may make more of it."""


class LabelMessage(Fields):
    """One message."""

    role: Literal["system", "user", "assistant"]
    content: str


class LabelScoresRequest(Fields):
    """What to score."""

    messages: list[LabelMessage]
    labels: Annotated[list[str], Field(min_length=1)]


class EngineRoutes:
    """What goes beyond OpenAI's API."""

    def __init__(self, runner: DirectRunner) -> None:
        self._runner = runner

    async def ready(self, _: Request) -> Response:
        """Tell whether a request could be served now; 503 otherwise."""
        await self._runner.ping()
        return JSONResponse({"status": "ready"})

    async def engine(self, _: Request) -> Response:
        """Describe the model and what the backend can do."""
        model = self._runner.model
        return JSONResponse(
            {
                "model": {
                    "model_id": model.model_id,
                    "context_length": model.context_length,
                    "provider": model.provider,
                    "fingerprint": model.fingerprint,
                },
                "capabilities": sorted(capability.name for capability in self._runner.capabilities),
            }
        )

    async def label_scores(self, request: Request) -> Response:
        """Score labels as the assistant's next words."""
        asked = validated(LabelScoresRequest, await read_json_object(request, max_bytes=MAX_BODY_BYTES))
        messages = [ChatMessage(message.role, message.content) for message in asked.messages]
        scores = await unless_disconnected(request, self._runner.score_labels(messages, asked.labels))
        return JSONResponse(
            {"log_probabilities": scores.log_probabilities, "usage": usage_content(scores.usage)}
        )


def create_engine_app(
    generator: TextGenerator,
    limits: RunnerLimits,
    *,
    tracer: Tracer = NO_TRACES,
    on_start_failure: Callable[[ConfigurationError], None] | None = None,
) -> Starlette:
    """Return the application; it opens the backend at start-up and closes it at shutdown.

    Args:
        generator: the backend, not yet open.
        limits: on the requests of all workers together.
        tracer: goes on with the workers' traces.
        on_start_failure: told when the backend can never work as configured; may end the process.
    """
    runner = DirectRunner(generator, limits)
    openai = OpenAIRoutes(runner, OpenAIOptions(MAX_BODY_BYTES, None, None, is_public=False))
    engine = EngineRoutes(runner)

    return Starlette(
        routes=[
            *openai.routes,
            Route("/v1/engine", engine.engine, methods=["GET"]),
            Route("/v1/label_scores", engine.label_scores, methods=["POST"]),
            Route("/health/ready", engine.ready, methods=["GET"]),
        ],
        middleware=[
            *([] if tracer is NO_TRACES else [Middleware(ContinuedTraceMiddleware, tracer=tracer)]),
            Middleware(RequestLogMiddleware, is_quiet=True),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan_of(generator, on_start_failure, tracer),
    )
