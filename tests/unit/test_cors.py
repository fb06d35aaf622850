"""Pages of other origins: none may read an answer unless the settings name it."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from adapters.settings import read_settings
from domain.errors import ConfigurationError
from tests.unit.test_http_app import PAYLOAD, client_of

PAGE = "https://chat.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}
TOKEN = {"Authorization": "Bearer correct-horse"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(LLM_CORS_ORIGINS=[PAGE], LLM_AUTH_TOKENS=["correct-horse"]) as client:
        yield client


@pytest.mark.parametrize("path", ["/service_output", "/v1/chat/completions", "/jobs/1"])
def test_a_preflight_needs_no_token(client: TestClient, path: str) -> None:
    response = client.options(path, headers=PREFLIGHT)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "POST" in response.headers["access-control-allow-methods"]
    assert {"authorization", "x-stainless-lang"} <= set(
        response.headers["access-control-allow-headers"].split(",")
    )
    assert "access-control-allow-credentials" not in response.headers


def test_the_page_reads_answers_and_errors(client: TestClient) -> None:
    answered = client.post("/service_output", json=PAYLOAD, headers={**TOKEN, "Origin": PAGE})
    refused = client.post("/service_output", json=PAYLOAD, headers={"Origin": PAGE})

    assert (answered.status_code, refused.status_code) == (200, 401)
    for response in (answered, refused):
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "X-Request-ID" in response.headers["access-control-expose-headers"]


def test_another_page_does_not(client: TestClient) -> None:
    other = "https://chat.example.evil"

    assert client.options("/service_output", headers={**PREFLIGHT, "Origin": other}).status_code == 400
    answered = client.post("/service_output", json=PAYLOAD, headers={**TOKEN, "Origin": other})
    assert "access-control-allow-origin" not in answered.headers


def test_without_the_setting_no_page_does() -> None:
    with client_of() as client:
        assert client.options("/service_output", headers=PREFLIGHT).status_code == 405
        answered = client.post("/service_output", json=PAYLOAD, headers={"Origin": PAGE})

    assert not [name for name in answered.headers if name.startswith("access-control")]


@pytest.mark.parametrize("text", [f"{PAGE}, http://localhost:8080", f'["{PAGE}", "http://localhost:8080"]'])
def test_origins_are_words_or_a_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LLM_CORS_ORIGINS", text)

    assert read_settings().cors_origins == (PAGE, "http://localhost:8080")


@pytest.mark.parametrize("text", ["chat.example", "https://chat.example/", "https://chat.example/page"])
def test_what_is_no_origin_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LLM_CORS_ORIGINS", text)

    with pytest.raises(ConfigurationError, match="LLM_CORS_ORIGINS"):
        read_settings()
