"""The application in process: every answer's status, form and headers, and what the log says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.errors import BackendError, ConfigurationError, OverloadedError
from domain.ports import TextGenerator
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from tests.fakes.backends import BareTextGenerator, EndlessTextGenerator, FailingTextGenerator

DATA = {"key": "k", "messageId": "m", "text": "my secret words", "history": []}
PAYLOAD = {"source": 1, "data": DATA}


class DictWorkflow(LLMInferenceWorkflow):
    """Replies with an object."""

    async def postprocess(self, generation: Any, request: LLMRequest) -> dict[str, Any]:
        return {"answer": generation.text}


class BrokenWorkflow(LLMInferenceWorkflow):
    """Returns what JSON cannot hold, or raises."""

    async def postprocess(self, generation: Any, request: LLMRequest) -> Any:
        if request.text == "raise":
            raise ValueError(f"cannot parse {request.text} secret")
        return {"when": object()}


@contextmanager
def client_of(generator: TextGenerator | None = None, **settings: Any) -> Iterator[TestClient]:
    workflows = {"dict": f"{__name__}.DictWorkflow", "broken": f"{__name__}.BrokenWorkflow"}
    own = {"LLM_WORKFLOWS": workflows, "LLM_JOURNAL": "memory"}
    all_settings = Settings(_env_file=None, **{**own, **settings})
    container = build_container(all_settings, generator=generator or ScriptedTextGenerator())
    with TestClient(create_app(container)) as client:
        yield client


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


def assert_is_error(response: Any, status: int, *words: str) -> None:
    assert response.status_code == status
    body = response.json()
    assert set(body) == {"code", "name", "description"}
    assert body["code"] == str(status)
    assert body["name"]
    for word in words:
        assert word in body["description"]
    assert "x-request-id" in response.headers


@pytest.mark.parametrize("path", ["/service_output", "/inference", "/workflows/default/service_output"])
def test_a_string_reply_is_a_json_string_with_model_and_usage_in_its_headers(
    client: TestClient, path: str
) -> None:
    response = client.post(path, json=PAYLOAD)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == "my secret words"
    assert response.headers["x-model-id"] == "scripted"
    assert response.headers["x-prompt-tokens"] == "3"
    assert response.headers["x-completion-tokens"] == "3"
    assert response.headers["x-finish-reason"] == "stop"


def test_a_string_reply_is_bare_text_where_that_is_preferred(client: TestClient) -> None:
    response = client.post("/service_output", json=PAYLOAD, headers={"Accept": "text/plain"})

    assert response.text == "my secret words"
    assert response.headers["content-type"].startswith("text/plain")


def test_an_object_reply_is_json_whatever_is_preferred(client: TestClient) -> None:
    response = client.post("/workflows/dict/service_output", json=PAYLOAD, headers={"Accept": "text/plain"})

    assert response.json() == {"answer": "my secret words"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["not JSON"]),
        (b"{", ["not JSON"]),
        (b"\xff\xfe", ["not JSON"]),
        (b"[1]", ["must be a JSON object"]),
        (b'"text"', ["must be a JSON object"]),
        (b'{"source": 1, "data": {"text": NaN}}', ["not JSON"]),
        (b"{}", ["source: Field required", "data: Field required"]),
        (b'{"source": 1, "data": {}}', ["data.key", "data.messageId", "data.text", "data.history"]),
        (b'{"source": 1, "data": {"text": 5}}', ["data.text: Input should be a valid string"]),
        (b"[" * 100_000, ["not JSON"]),
    ],
)
def test_a_body_that_is_wrong_is_a_400_that_says_what(
    client: TestClient, body: bytes, words: list[str]
) -> None:
    response = client.post("/service_output", content=body, headers={"Content-Type": "application/json"})

    assert_is_error(response, 400, *words)


def test_a_proof_that_the_workflow_does_not_attach_is_a_400(client: TestClient) -> None:
    response = client.post("/service_output", json=PAYLOAD | {"requires_proof": True})

    assert_is_error(response, 400, "requires_proof", "attaches no proofs")


def test_another_content_type_is_a_415(client: TestClient) -> None:
    response = client.post("/service_output", content=b"x", headers={"Content-Type": "text/plain"})

    assert_is_error(response, 415, "application/json")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.x+json", None])
def test_json_under_its_other_names_is_taken(client: TestClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    assert client.post("/service_output", content=json.dumps(PAYLOAD), headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_a_413() -> None:
    with client_of(LLM_MAX_BODY_BYTES=50) as client:
        assert_is_error(client.post("/service_output", json=PAYLOAD), 413, "50 bytes")


def test_unknown_paths_workflows_and_methods(client: TestClient) -> None:
    assert_is_error(client.get("/nothing"), 404)
    assert_is_error(client.post("/workflows/none/service_output", json=PAYLOAD), 404, "no workflow")
    response = client.get("/service_output")
    assert_is_error(response, 405)
    assert "POST" in response.headers["allow"]


def test_a_context_that_is_too_long_is_a_400() -> None:
    with client_of(ScriptedTextGenerator(context_length=3)) as client:
        assert_is_error(client.post("/service_output", json=PAYLOAD), 400, "context length is 3 tokens")


def test_a_backend_that_fails_is_a_503_to_be_tried_again() -> None:
    with client_of(FailingTextGenerator()) as client:
        response = client.post("/service_output", json=PAYLOAD)

    assert_is_error(response, 503, "unreachable")
    assert response.headers["retry-after"] == "1"


def test_a_request_that_takes_too_long_is_a_504() -> None:
    with client_of(EndlessTextGenerator(), LLM_REQUEST_TIMEOUT_S=0.05) as client:
        assert_is_error(client.post("/service_output", json=PAYLOAD), 504, "longer than 0.05 s")


def test_a_workflow_that_fails_is_a_500_without_its_message(client: TestClient) -> None:
    payload = {"source": 1, "data": DATA | {"text": "raise"}}
    response = client.post("/workflows/broken/service_output", json=payload)

    assert_is_error(response, 500, "postprocess failed (ValueError)")
    assert "secret" not in response.text


def test_output_that_json_cannot_hold_is_a_500_that_names_the_type(client: TestClient) -> None:
    assert_is_error(client.post("/workflows/broken/service_output", json=PAYLOAD), 500, "object")


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("abc-123", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("a b", False),
        ('x"; drop', False),
        ("", False),
    ],
)
def test_a_plain_request_id_comes_back_and_another_is_replaced(
    client: TestClient, given: str, is_kept: bool
) -> None:
    answered = client.get("/", headers={"X-Request-ID": given}).headers["x-request-id"]

    assert (answered == given) == is_kept
    assert answered


def test_home_and_health(client: TestClient) -> None:
    assert "/service_output" in client.get("/").text
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {"status": "ready", "model": "scripted", "provider": None}


def test_a_backend_that_is_gone_is_not_ready_and_the_process_lives() -> None:
    class Gone(BareTextGenerator):
        async def ping(self) -> None:
            raise BackendError("the backend cannot be reached")

    with client_of(Gone()) as client:
        assert client.get("/health").status_code == 200
        assert_is_error(client.get("/health/ready"), 503)


def test_an_unforeseen_error_is_a_500_and_the_service_goes_on() -> None:
    class Mad(BareTextGenerator):
        async def ping(self) -> None:
            raise ZeroDivisionError("my secret words")

    with client_of(Mad()) as client:
        response = client.get("/health/ready")
        assert_is_error(response, 500)
        assert "secret" not in response.text
        assert client.post("/service_output", json=PAYLOAD).status_code == 200


def test_too_many_requests_are_a_503_with_the_wait() -> None:
    class Busy(BareTextGenerator):
        async def ping(self) -> None:
            raise OverloadedError("busy", retry_after_s=7)

    with client_of(Busy()) as client:
        assert client.get("/health/ready").headers["retry-after"] == "7"


def test_a_container_that_cannot_open_fails_the_start_and_tells_why() -> None:
    class Unusable(BareTextGenerator):
        async def open(self) -> None:
            raise ConfigurationError("no model")

    told: list[ConfigurationError] = []
    container = build_container(Settings(_env_file=None), generator=Unusable())
    app = create_app(container, on_start_failure=told.append)
    with pytest.raises(ConfigurationError, match="no model"), TestClient(app):
        pass
    assert [str(error) for error in told] == ["no model"]


def test_the_log_has_one_line_a_request_with_counts_and_never_the_text(
    capsys: pytest.CaptureFixture[str], configured_logs: Callable[[str, str], None]
) -> None:
    configured_logs("info", "json")
    with client_of() as client:
        capsys.readouterr()
        client.post("/service_output", json=PAYLOAD, headers={"X-Request-ID": "r-1"})
        client.post("/service_output", json={"source": 1, "data": DATA | {"text": 7}})
        client.post("/workflows/broken/service_output", json=PAYLOAD)
        client.get("/health")
        log = capsys.readouterr().err

    lines = [json.loads(line) for line in log.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 400, 500]
    assert requests[0]["request_id"] == "r-1"
    assert requests[0]["prompt_tokens"] == 3
    assert requests[0]["completion_tokens"] == 3
    assert requests[0]["duration_ms"] >= requests[0]["time_to_first_token_ms"] >= 0
    assert requests[1]["error"] == "InvalidRequestError"
    assert "secret" not in log
    failure = next(line for line in lines if line["event"] == "request failed")
    assert failure["request_id"] == requests[2]["request_id"]
    assert failure["causes"][0]["type"] == "UnserialisableOutputError"


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_browser_gets_a_page_and_everybody_else_a_line(client: TestClient) -> None:
    page = client.get("/", headers=BROWSER)

    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == client.get("/").headers["vary"] == "Accept"
    assert client.get("/").headers["content-type"].startswith("text/plain")
    assert client.get("/", headers={"Accept": "application/json"}).text == client.get("/").text


@pytest.mark.parametrize("path", ["/", "/docs", "/page/main.js", "/page/page.css"])
def test_a_page_keeps_to_itself_and_is_asked_for_again(client: TestClient, path: str) -> None:
    response = client.get(path, headers=BROWSER)

    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={**BROWSER, "If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert "content-security-policy" in again.headers


def test_no_other_file_is_served(client: TestClient) -> None:
    for path in ("/page/", "/page/nothing.js", "/page/../routes.py", "/page/%2e%2e/routes.py"):
        assert_is_error(client.get(path, headers=BROWSER), 404)


def test_the_page_is_open_and_its_calls_are_not() -> None:
    with client_of(LLM_AUTH_TOKENS="a-token-for-all") as client:
        for path in ("/", "/docs", "/page/main.js"):
            assert client.get(path, headers=BROWSER).status_code == 200
        assert_is_error(client.get("/workflows"), 401)
        assert_is_error(client.post("/proofs/verify", json={"calldata": "0x1e8e1e13"}), 401)


def test_a_page_that_is_switched_off_is_not_there() -> None:
    with client_of(LLM_WEB_PAGE=False) as client:
        assert client.get("/", headers=BROWSER).headers["content-type"].startswith("text/plain")
        for path in ("/docs", "/page/main.js"):
            assert_is_error(client.get(path, headers=BROWSER), 404)


def test_without_a_circuit_there_is_nothing_to_check_proofs_of(client: TestClient) -> None:
    assert_is_error(client.post("/proofs/verify", json={"calldata": "0x1e8e1e13"}), 501, "no circuit")
    assert_is_error(client.post("/proofs/verify", json={"calldata": "x"}), 400, "calldata")
    assert "/proofs/verify" not in client.get("/openapi.json").json()["paths"]


def test_the_workflows_are_listed(client: TestClient) -> None:
    listed = {one["name"]: one for one in client.get("/workflows").json()["workflows"]}

    assert list(listed) == ["default", "dict", "broken"]
    assert listed["default"] == {
        "name": "default",
        "path": "/service_output",
        "takes": "LLMRequest",
        "is_conversation": True,
        "streams": True,
        "proofs": "never",
    }
    assert listed["dict"]["path"] == "/workflows/dict/service_output"
    assert listed["dict"]["streams"] is False
