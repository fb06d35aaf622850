"""What each path does."""

from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from domain.requests import InfernetInput
from domain.runner import WorkflowReply
from domain.validation import validated
from entrypoints.container import DEFAULT_WORKFLOW_NAME, Container
from entrypoints.http.body import read_json_object
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.negotiation import prefers_plain_text

CLIENT_CLOSED_REQUEST = 499
"""Not a registered status: the one servers log for a caller who left; it is never seen."""

HOME = "LLM Inference Service: POST an InfernetInput to /service_output\n"


class Routes:
    """The endpoints, over one container."""

    def __init__(self, container: Container) -> None:
        self._container = container

    async def home(self, _: Request) -> Response:
        """Say what this is."""
        return PlainTextResponse(HOME)

    async def health(self, _: Request) -> Response:
        """Tell that the process serves (liveness)."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Tell whether a request could be served now; 503 otherwise."""
        await self._container.generator.ping()
        model = self._container.generator.model
        return JSONResponse({"status": "ready", "model": model.model_id, "provider": model.provider})

    async def service_output(self, request: Request) -> Response:
        """Take an InfernetInput through a workflow."""
        name = request.path_params.get("name", DEFAULT_WORKFLOW_NAME)
        runner = self._container.runners.get(name)
        if runner is None:
            raise HTTPException(404, "there is no workflow of this name")
        facts = request.state.log_facts
        facts["workflow"] = name
        try:
            payload = await read_json_object(request, max_bytes=self._container.settings.max_body_bytes)
            infernet_input = validated(InfernetInput, payload)
            data = infernet_input.offchain_data()
            work = runner.run(data, requires_proof=bool(infernet_input.requires_proof))
            reply = await unless_disconnected(request, work)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        headers = self._reply_headers(reply)
        facts |= _log_facts(reply)
        if isinstance(reply.output, str) and prefers_plain_text(request.headers.get("accept", "")):
            return PlainTextResponse(reply.output, headers=headers)
        return JSONResponse(reply.output, headers=headers)

    def _reply_headers(self, reply: WorkflowReply) -> dict[str, str]:
        headers = {
            "X-Model-Id": quote(self._container.generator.model.model_id, safe="/:@._- "),
            "X-Prompt-Tokens": str(reply.meter.usage.num_prompt_tokens),
            "X-Completion-Tokens": str(reply.meter.usage.num_completion_tokens),
        }
        if reply.meter.finish_reason is not None:
            headers["X-Finish-Reason"] = reply.meter.finish_reason
        return headers


def _log_facts(reply: WorkflowReply) -> dict[str, Any]:
    meter = reply.meter
    first_s = meter.time_to_first_token_s
    return {
        "prompt_tokens": meter.usage.num_prompt_tokens,
        "completion_tokens": meter.usage.num_completion_tokens,
        "time_to_first_token_ms": round(first_s * 1000, 1) if first_s is not None else None,
        "finish_reason": meter.finish_reason,
    }
