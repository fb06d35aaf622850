"""``/openapi.json``: it is valid, names every path, and what the service answers is what it says."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.requests import LLMRequest
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from entrypoints.http.openapi import OPERATIONS, openapi_document
from tests.service_process import ServiceProcess, service

DATA = {"key": "1", "messageId": "2", "text": "hi", "history": []}
ASKED = {"source": 1, "data": DATA}
CHAT = {"messages": [{"role": "user", "content": "hi"}]}
JOBS_ASYNC = {"prefer": "respond-async"}

Exchange = tuple[str, str, str, int, dict[str, Any]]
"""Method, path in the document, path asked, status, and what else is sent."""

EXCHANGES: list[Exchange] = [
    ("GET", "/", "/", 200, {}),
    ("GET", "/health", "/health", 200, {}),
    ("GET", "/health/ready", "/health/ready", 200, {}),
    ("GET", "/openapi.json", "/openapi.json", 200, {}),
    ("GET", "/", "/", 200, {"headers": {"accept": "text/html"}}),
    ("GET", "/docs", "/docs", 200, {}),
    ("GET", "/workflows", "/workflows", 200, {}),
    ("GET", "/metrics", "/metrics", 200, {}),
    ("GET", "/service-resources", "/service-resources?model_id=x", 200, {}),
    ("GET", "/service_output/schema", "/service_output/schema", 200, {}),
    ("GET", "/workflows/{name}/service_output/schema", "/workflows/none/service_output/schema", 404, {}),
    ("POST", "/service_output", "/service_output", 200, {"json": ASKED}),
    ("POST", "/service_output", "/service_output", 200, {"json": ASKED, "headers": {"accept": "text/plain"}}),
    ("POST", "/service_output", "/service_output", 200, {"json": {**ASKED, "destination": 2}}),
    ("POST", "/service_output", "/service_output", 202, {"json": ASKED, "headers": JOBS_ASYNC}),
    ("POST", "/service_output", "/service_output", 400, {"json": {"source": 7}}),
    ("POST", "/service_output", "/service_output", 400, {"content": b"\x00"}),
    ("POST", "/service_output", "/service_output", 413, {"content": b" " * 1_100_000}),
    ("POST", "/inference", "/inference", 200, {"json": ASKED}),
    ("POST", "/workflows/{name}/service_output", "/workflows/none/service_output", 404, {"json": ASKED}),
    ("GET", "/jobs", "/jobs?limit=5", 200, {}),
    ("GET", "/jobs", "/jobs?limit=x", 400, {}),
    ("GET", "/jobs", "/jobs?limit=0.5", 400, {}),
    ("GET", "/jobs/{job_id}", "/jobs/none", 404, {}),
    ("DELETE", "/jobs/{job_id}", "/jobs/none", 404, {}),
    ("POST", "/v1/chat/completions", "/v1/chat/completions", 200, {"json": CHAT}),
    ("POST", "/v1/chat/completions", "/v1/chat/completions", 200, {"json": {**CHAT, "stream": True}}),
    ("POST", "/v1/chat/completions", "/v1/chat/completions", 400, {"json": {"messages": []}}),
    ("POST", "/v1/chat/completions", "/v1/chat/completions", 404, {"json": {**CHAT, "model": "x"}}),
    ("POST", "/v1/completions", "/v1/completions", 200, {"json": {"prompt": "hi"}}),
    ("POST", "/v1/embeddings", "/v1/embeddings", 200, {"json": {"input": "hi"}}),
    ("GET", "/v1/models", "/v1/models", 200, {}),
    ("GET", "/v1/models/{model_id}", "/v1/models/none", 404, {}),
]


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with service(LLM_BACKEND="scripted") as started_service:
        yield started_service


@pytest.fixture(scope="module")
def document(running: ServiceProcess) -> dict[str, Any]:
    """The document as the service gives it."""
    content: dict[str, Any] = httpx2.get(f"{running.url}/openapi.json", timeout=10).json()
    return content


def test_every_path_is_in_it_and_nothing_else() -> None:
    app = create_app(build_container(Settings(), generator=ScriptedTextGenerator()))
    served = {
        (method, route.path.replace(":path}", "}"))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert served == set(OPERATIONS)


def test_its_schemas_are_schemas_and_its_references_lead_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)

    def references(part: object) -> Iterator[str]:
        match part:
            case {"$ref": str(reference)}:
                yield reference
            case dict():
                for value in part.values():
                    yield from references(value)
            case list():
                for value in part:
                    yield from references(value)

    found = set(references(document))
    assert len(found) > 10
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(schemas)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_answers_are_what_it_says(
    running: ServiceProcess, document: dict[str, Any], exchange: Exchange
) -> None:
    method, path, url, status, options = exchange

    response = httpx2.request(method, f"{running.url}{url}", timeout=20, **options)

    assert response.status_code == status
    declared = document["paths"][path][method.lower()]["responses"][str(status)]["content"]
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in declared
    body = response.json() if media_type == "application/json" else response.text
    schema = {**declared[media_type]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(body)


def test_its_examples_are_taken(running: ServiceProcess, document: dict[str, Any]) -> None:
    statuses = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in media:
                url = running.url + path.replace("{name}", "default")
                statuses[path] = httpx2.request(method, url, json=media["example"], timeout=20).status_code

    assert set(statuses.values()) == {200}
    assert len(statuses) == 6


def test_a_method_that_there_is_not_is_told_those_that_there_are(running: ServiceProcess) -> None:
    response = httpx2.options(f"{running.url}/jobs/none", timeout=10)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}


@pytest.mark.parametrize("has_tokens", [True, False])
def test_where_tokens_are_needed_it_says_so(*, has_tokens: bool) -> None:
    document = openapi_document({"default": LLMRequest}, has_tokens=has_tokens, has_proofs=True)

    operation = document["paths"]["/service_output"]["post"]
    assert ("401" in operation["responses"]) is ("security" in operation) is has_tokens
    assert "security" not in document["paths"]["/health"]["get"]
    assert ("securitySchemes" in document["components"]) is has_tokens
