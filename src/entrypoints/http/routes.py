"""What each path does, but for the jobs'."""

import json
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from domain.errors import FieldProblem, InvalidRequestError, UnavailableError
from domain.generation import Usage
from domain.jobs import JobOutcome, StoredReply
from domain.requests import InfernetInput, JobLocation
from domain.served_workflow import ServedWorkflow
from domain.validation import validated
from entrypoints.container import DEFAULT_WORKFLOW_NAME, Container
from entrypoints.http.bearer import owner_of
from entrypoints.http.body import read_json_object
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.job_routes import job_response
from entrypoints.http.negotiation import idempotency_key, prefers_async, prefers_plain_text
from entrypoints.http.openapi import openapi_document
from entrypoints.http.reply_headers import model_headers, reply_headers
from entrypoints.http.streaming import MarkedStream
from entrypoints.http.workflow_list import workflow_content
from entrypoints.service_resources import service_resources, supports_model

JSON = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
HOME = "LLM Inference Service: POST an InfernetInput to /service_output\n"


class Routes:
    """The endpoints, over one container."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def home(self, _: Request) -> Response:
        """Say what this is."""
        return PlainTextResponse(HOME, headers={"Vary": "Accept"})

    async def workflows(self, _: Request) -> Response:
        """List the workflows."""
        served = self._container.workflows.values()
        return JSONResponse({"workflows": [workflow_content(workflow.runner) for workflow in served]})

    async def health(self, _: Request) -> Response:
        """Tell that the process serves (liveness)."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Tell whether a request could be served now; 503 otherwise."""
        if self._container.is_stopping:
            raise UnavailableError("the service is stopping")
        await self._container.generator.ping()
        model = self._container.generator.model
        return JSONResponse({"status": "ready", "model": model.model_id, "provider": model.provider})

    async def resources(self, request: Request) -> Response:
        """Tell a node what there is here, or whether a model is served."""
        model = self._container.generator.model
        asked = request.query_params.get("model_id")
        if asked is not None:
            return JSONResponse({"supported": supports_model(model, asked)})
        proves = self._container.prover is not None
        return JSONResponse(service_resources(self._container.settings.service_id, model, proves=proves))

    async def schema(self, request: Request) -> Response:
        """Publish what a workflow takes."""
        workflow = self._workflow(request)
        request_type = workflow.runner.workflow.request_type
        return JSONResponse(
            {"infernet_input": InfernetInput.model_json_schema(), "data": request_type.model_json_schema()}
        )

    async def openapi(self, _: Request) -> Response:
        """Describe every path, as OpenAPI 3.1."""
        return Response(self._openapi_json, media_type="application/json")

    async def metrics(self, _: Request) -> Response:
        """Tell all processes' metrics, as Prometheus reads them."""
        metrics = self._container.metrics
        return Response(metrics.exposition(), headers={"content-type": metrics.content_type})

    async def service_output(self, request: Request) -> Response:
        """Take an InfernetInput through a workflow."""
        workflow = self._workflow(request)
        headers = request.headers
        facts = request.state.log_facts
        facts["workflow"] = workflow.name
        settings = self._container.settings
        payload = await read_json_object(
            request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
        )
        infernet_input = validated(InfernetInput, payload)
        key = idempotency_key(headers.get("idempotency-key"))
        if infernet_input.destination is JobLocation.STREAM:
            return await self._stream(request, workflow, infernet_input, key)
        if prefers_async(headers.getlist("prefer")):
            job = await self._container.jobs.submit(workflow, infernet_input, owner_of(request), key)
            facts["job_id"] = job.job_id
            return job_response(job, 202)
        if key is not None or infernet_input.is_onchain or workflow.proves(infernet_input):
            work = self._container.jobs.answer(workflow, infernet_input, owner_of(request), key)
            outcome, is_replayed = await unless_disconnected(request, work)
            return self._stored_response(request, outcome, is_replayed=is_replayed)
        reply = await unless_disconnected(request, workflow.answer(infernet_input, self._settling(request)))
        first_s = reply.meter.time_to_first_token_s
        facts["cached_tokens"] = reply.meter.usage.num_cached_prompt_tokens
        facts["time_to_first_token_ms"] = None if first_s is None else round(first_s * 1000, 1)
        stored = StoredReply.of(reply.output, reply.meter.usage, reply.meter.finish_reason)
        return self._response(request, stored)

    @cached_property
    def _openapi_json(self) -> bytes:
        # made once: it takes 25 ms, and anybody may ask
        container = self._container
        data_types = {
            name: workflow.runner.workflow.request_type for name, workflow in container.workflows.items()
        }
        document = openapi_document(
            data_types,
            has_tokens=bool(container.settings.access_tokens),
            has_proofs=container.prover is not None,
            has_metrics=container.settings.admin_bind is None,
        )
        return JSON.encode(document).encode()

    def _workflow(self, request: Request) -> ServedWorkflow:
        workflow = self._container.workflows.get(request.path_params.get("name", DEFAULT_WORKFLOW_NAME))
        if workflow is None:
            raise HTTPException(404, "there is no workflow of this name")
        return workflow

    async def _stream(
        self, request: Request, workflow: ServedWorkflow, infernet_input: InfernetInput, key: str | None
    ) -> Response:
        if key is not None:
            raise InvalidRequestError(
                FieldProblem("Idempotency-Key", "a stream is not kept to be sent again")
            )
        stream = await unless_disconnected(request, workflow.stream(infernet_input, self._settling(request)))
        return MarkedStream(stream, model_headers(self._container.generator.model))

    def _settling(self, request: Request) -> Callable[[Usage], None]:
        return partial(self._container.rate_limits.settle, owner_of(request))

    def _stored_response(self, request: Request, outcome: JobOutcome, *, is_replayed: bool) -> Response:
        request.state.log_facts["is_replayed"] = is_replayed
        if outcome.error is not None:
            raise outcome.error.error()
        assert outcome.reply is not None  # noqa: S101 - one of the two
        response = self._response(request, outcome.reply)
        if is_replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    def _response(self, request: Request, reply: StoredReply) -> Response:
        request.state.log_facts |= _log_facts(reply)
        headers = reply_headers(self._container.generator.model, reply)
        if isinstance(reply.output, str) and prefers_plain_text(request.headers.get("accept", "")):
            return PlainTextResponse(reply.output, headers=headers)
        return Response(JSON.encode(reply.output), headers=headers, media_type="application/json")


def _log_facts(reply: StoredReply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.num_prompt_tokens,
        "completion_tokens": reply.num_completion_tokens,
        "finish_reason": reply.finish_reason,
    }
