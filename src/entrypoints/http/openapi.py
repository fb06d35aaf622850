"""``/openapi.json``: what every path takes and gives, made from the pydantic models that validate it.

OpenAPI 3.1. A path that has no entry here is not documented; a test holds that each of the application's has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from domain.requests import InfernetInput
from entrypoints.container import DEFAULT_WORKFLOW_NAME
from entrypoints.http.openai_api.chat_request import ChatRequest
from entrypoints.http.openai_api.completion_request import CompletionRequest
from entrypoints.http.openai_api.embeddings import EmbeddingsRequest
from entrypoints.http.proof_routes import VerificationRequest

Schema = dict[str, Any]

JSON_TYPE = "application/json"
REF = "#/components/schemas/{model}"
ANY: Schema = {}
STRING: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
ERROR: Schema = {"$ref": REF.format(model="Error")}
OPENAI_ERROR: Schema = {"$ref": REF.format(model="OpenAIError")}
JOB: Schema = {"$ref": REF.format(model="Job")}
NO_PROOF: Schema = {"enum": [None, False], "description": "no workflow here attaches a proof"}
EVENTS: Schema = {"description": "server-sent events"}
REQUEST_ERRORS = (400, 408, 413, 415, 500, 503, 504)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path does."""

    summary: str
    replies: dict[int, dict[str, Schema]]
    """By status, then by media type; no media type: no body."""
    body: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    error: Schema = field(default_factory=lambda: ERROR)
    example: dict[str, Any] | None = None
    """Of a body."""
    is_open: bool = False
    """Whether it takes no token where others do."""


def _json(schema: Schema) -> dict[str, Schema]:
    return {JSON_TYPE: schema}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": sorted(required),
    }


def _parameter(name: str, where: str, schema: Schema, text: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": text}


JOB_ID = _parameter("job_id", "path", STRING, "the id of a job")
WORKFLOW = _parameter("name", "path", STRING, "a workflow's name in LLM_WORKFLOWS")
KEY = _parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
    "the same key is the same job",
)
PREFER = _parameter("Prefer", "header", STRING, "respond-async: a job, at once")
OUTPUT: dict[str, Schema] = {
    JSON_TYPE: {"description": "a text, or what the workflow gives", "type": ["string", "object"]},
    "text/plain": STRING,
}
INFERNET_EXAMPLE: dict[str, Any] = {
    "source": 1,
    "data": {"text": "Name three colours.", "key": "123", "messageId": "123456", "history": []},
}
CHAT_EXAMPLE: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 64,
    "stream": True,
}
NULLABLE_STRING: Schema = {"type": ["string", "null"]}
OPENAI_USAGE = _object({"prompt_tokens": COUNT, "total_tokens": COUNT}, {"completion_tokens": COUNT})

WORKFLOW_ENTRY = _object(
    {
        "name": STRING,
        "path": STRING,
        "takes": {"type": "string", "description": "the type of its data"},
        "is_conversation": {"type": "boolean", "description": "whether that is an LLMRequest"},
        "streams": {"type": "boolean", "description": "whether a stream comes piece by piece"},
        "proofs": {"enum": ["never", "on_request", "always"]},
    }
)
FELTS: Schema = {"type": "array", "items": {"type": "string", "pattern": "^0x[0-9a-f]{64}$"}}
VERDICT = _object(
    {
        "verified": {"type": "boolean"},
        "circuit_id": STRING,
        "statement": {"type": "string", "description": "what is proved, and what is not"},
        "is_srs_insecure": {
            "type": "boolean",
            "description": "whether who made the circuit can forge proofs",
        },
        "instances": FELTS,
        "values": {"type": ["object", "null"], "description": "what the instances stand for"},
    }
)

SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {"code": {"type": "string", "pattern": "^[45][0-9]{2}$"}, "name": STRING, "description": STRING}
    ),
    "OpenAIError": _object(
        {
            "error": _object(
                {"message": STRING, "type": STRING, "param": NULLABLE_STRING, "code": NULLABLE_STRING}
            )
        }
    ),
    "Job": _object(
        {
            "id": STRING,
            "status": STRING,
            "workflow": STRING,
            "attempts": COUNT,
            "created_at": {"type": "string", "format": "date-time"},
            "finished_at": {"type": ["string", "null"], "format": "date-time"},
        },
        {"result": ANY, "usage": {"type": "object"}, "error": ERROR},
    ),
    "Model": _object(
        {"id": STRING, "object": {"const": "model"}, "created": COUNT, "owned_by": STRING},
        {"max_model_len": {"type": ["integer", "null"]}},
    ),
    "Answer": _object(
        {"id": STRING, "object": STRING, "created": COUNT, "model": STRING, "choices": {"type": "array"}},
        {"usage": OPENAI_USAGE, "system_fingerprint": NULLABLE_STRING},
    ),
}


def _serving(*parameters: dict[str, Any]) -> Operation:
    return Operation(
        "Take an InfernetInput through a workflow",
        {200: {**OUTPUT, "text/event-stream": EVENTS}, 202: _json(JOB)},
        InfernetInput,
        (404, 409, 501, *REQUEST_ERRORS) if parameters else (409, 501, *REQUEST_ERRORS),
        (*parameters, KEY, PREFER),
        example=INFERNET_EXAMPLE,
    )


def _openai(
    summary: str,
    body: type[BaseModel] | None,
    reply: Schema,
    *,
    example: dict[str, Any] | None = None,
    streams: bool = False,
) -> Operation:
    replies = {**_json(reply), **({"text/event-stream": EVENTS} if streams else {})}
    errors = (404, 429, 501, *REQUEST_ERRORS)
    return Operation(summary, {200: replies}, body, errors, error=OPENAI_ERROR, example=example)


_SCHEMA = _json(_object({"infernet_input": {"type": "object"}, "data": {"type": "object"}}))
_ANSWER: Schema = {"$ref": REF.format(model="Answer")}
_MODEL: Schema = {"$ref": REF.format(model="Model")}
_LIST = _object({"object": {"const": "list"}, "data": {"type": "array"}})

SERVING_PATHS = ("/service_output", "/inference", "/workflows/{name}/service_output")

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/"): Operation(
        "Say what this is: to a browser by a page",
        {200: {"text/plain": STRING, "text/html": STRING}},
        is_open=True,
    ),
    ("GET", "/docs"): Operation(
        "This document, to be read by a person", {200: {"text/html": STRING}}, errors=(404,), is_open=True
    ),
    ("GET", "/health"): Operation(
        "Liveness", {200: _json(_object({"status": {"const": "ok"}}))}, is_open=True
    ),
    ("GET", "/health/ready"): Operation(
        "Whether a request could be served now",
        {200: _json(_object({"status": {"const": "ready"}, "model": STRING, "provider": NULLABLE_STRING}))},
        errors=(503,),
        is_open=True,
    ),
    ("POST", "/service_output"): _serving(),
    ("POST", "/inference"): _serving(),
    ("POST", "/workflows/{name}/service_output"): _serving(WORKFLOW),
    ("GET", "/service_output/schema"): Operation("What the workflow takes", {200: _SCHEMA}),
    ("GET", "/workflows/{name}/service_output/schema"): Operation(
        "What a workflow takes", {200: _SCHEMA}, errors=(404,), parameters=(WORKFLOW,)
    ),
    ("GET", "/workflows"): Operation(
        "The workflows: where each is, what it takes, and whether it proves",
        {200: _json(_object({"workflows": {"type": "array", "items": WORKFLOW_ENTRY}}))},
    ),
    ("POST", "/proofs/verify"): Operation(
        "Check a proof of the circuit that is served, from its calldata",
        {200: _json(VERDICT)},
        VerificationRequest,
        (501, *REQUEST_ERRORS),
        example={"calldata": "0x1e8e1e13"},
    ),
    ("GET", "/metrics"): Operation("Metrics for Prometheus", {200: {"text/plain": STRING}}),
    ("GET", "/service-resources"): Operation(
        "What there is here, for a node; or whether a model is served",
        {200: _json({"type": "object"})},
        parameters=(_parameter("model_id", "query", STRING, "the model to ask for"),),
    ),
    ("GET", "/jobs"): Operation(
        "The caller's jobs, the newest first",
        {200: _json(_object({"jobs": {"type": "array", "items": JOB}}))},
        errors=(400, 503),
        parameters=(
            _parameter("limit", "query", {"type": "integer", "minimum": 0, "maximum": 1000}, "at most"),
            _parameter("before", "query", STRING, "the last id of the page before"),
        ),
    ),
    ("GET", "/jobs/{job_id}"): Operation(
        "A job, once it is finished or the wait is over",
        {200: _json(JOB)},
        errors=(400, 404, 503),
        parameters=(
            JOB_ID,
            _parameter("wait", "query", {"type": "number", "minimum": 0, "maximum": 60}, "seconds"),
        ),
    ),
    ("DELETE", "/jobs/{job_id}"): Operation(
        "Cancel a job, or erase it when it is finished",
        {200: _json(JOB), 204: {}},
        errors=(404, 503),
        parameters=(JOB_ID,),
    ),
    ("POST", "/v1/chat/completions"): _openai(
        "Answer a conversation", ChatRequest, _ANSWER, example=CHAT_EXAMPLE, streams=True
    ),
    ("POST", "/v1/completions"): _openai(
        "Go on with texts",
        CompletionRequest,
        _ANSWER,
        example={"prompt": "The three primary colours are", "max_tokens": 32},
        streams=True,
    ),
    ("POST", "/v1/embeddings"): _openai(
        "Embed texts", EmbeddingsRequest, _LIST, example={"input": "Name three colours."}
    ),
    ("GET", "/v1/models"): Operation("The one model", {200: _json(_LIST)}, errors=(503,), error=OPENAI_ERROR),
    ("GET", "/v1/models/{model_id}"): Operation(
        "A model",
        {200: _json(_MODEL)},
        errors=(404, 503),
        parameters=(_parameter("model_id", "path", STRING, "its id"),),
        error=OPENAI_ERROR,
    ),
    ("GET", "/openapi.json"): Operation("This document", {200: _json({"type": "object"})}, is_open=True),
}


def openapi_document(
    data_types: Mapping[str, type[BaseModel]], *, has_tokens: bool, has_proofs: bool, has_metrics: bool = True
) -> dict[str, Any]:
    """Return the document.

    Args:
        data_types: what each workflow reads, by its name.
        has_tokens: whether callers need a bearer token.
        has_proofs: whether some workflow may attach one.
        has_metrics: whether they are at this address.
    """
    bodies = {op.body for op in OPERATIONS.values() if op.body is not None} | set(data_types.values())
    ordered = sorted(bodies, key=lambda body: (body.__module__, body.__qualname__))
    refs, schemas = models_json_schema([(body, "validation") for body in ordered], ref_template=REF)
    data = {name: refs[(data_type, "validation")] for name, data_type in data_types.items()}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        needs_token = has_tokens and not operation.is_open
        refusals = {
            *({401, 403} if needs_token else ()),
            *({429} if needs_token and method == "POST" else ()),
        }
        paths.setdefault(path, {})[method.lower()] = _operation_content(operation, refusals)
        if needs_token:
            paths[path][method.lower()]["security"] = [{"bearer": []}]
    for path in SERVING_PATHS:
        readers = list(data.values()) if "{name}" in path else [data[DEFAULT_WORKFLOW_NAME]]
        paths[path]["post"]["requestBody"]["content"][JSON_TYPE]["schema"] = _infernet_input(readers)
    components: dict[str, Any] = {"schemas": {**schemas.get("$defs", {}), **SCHEMAS}}
    if not has_proofs:
        del paths["/proofs/verify"]  # answers with 501 alone
        components["schemas"]["InfernetInput"]["properties"]["requires_proof"] = NO_PROOF
    if not has_metrics:
        del paths["/metrics"]
    if has_tokens:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "LLM Inference Service", "version": version("llm-inference-service")},
        "paths": paths,
        "components": components,
    }


def _infernet_input(data: list[Schema]) -> Schema:
    """Return the schema of an InfernetInput whose off-chain ``data`` is of one of some types."""
    distinct = [schema for index, schema in enumerate(data) if schema not in data[:index]]
    is_onchain = {"properties": {"source": {"const": 0}}}
    off_chain = {"properties": {"data": {"anyOf": distinct}}}
    return {
        "allOf": [
            {"$ref": REF.format(model=InfernetInput.__name__)},
            {"if": is_onchain, "then": True, "else": off_chain},
        ]
    }


def _operation_content(operation: Operation, refusals: set[int]) -> dict[str, Any]:
    errors = {*operation.errors, *refusals}
    responses = {
        **{status: _response(status, media) for status, media in operation.replies.items()},
        **{status: _response(status, _json(operation.error)) for status in sorted(errors)},
    }
    content: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {str(status): response for status, response in responses.items()},
    }
    if operation.parameters:
        content["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = {"$ref": REF.format(model=operation.body.__name__)}
        media = (
            {"schema": schema}
            if operation.example is None
            else {"schema": schema, "example": operation.example}
        )
        content["requestBody"] = {"required": True, "content": {JSON_TYPE: media}}
    return content


def _response(status: int, media: dict[str, Schema]) -> dict[str, Any]:
    content = {media_type: {"schema": schema} for media_type, schema in media.items()}
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    return {**response, "content": content} if content else response
