"""Bearer tokens: their forms, their file, their scopes and rates, and that no error shows one."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from adapters.settings import read_settings
from domain.access import AccessScope
from domain.errors import ConfigurationError
from domain.generation import Capability, Embedding, TokenChunk, Usage
from domain.messages import Prompt
from tests.fakes.backends import BareTextGenerator
from tests.unit.test_http_app import PAYLOAD, assert_is_error, client_of

SECRET = "marker-of-a-secret"
INFER, JOBS, ADMIN = AccessScope.INFER, AccessScope.JOBS, AccessScope.ADMIN


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text",
    [f"{SECRET},other-secret", f"{SECRET}\nother-secret\n", f'["{SECRET}", "other-secret"]'],
)
def test_words_may_infer_and_see_jobs(monkeypatch: pytest.MonkeyPatch, text: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(text)
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "tokens")

    tokens = read_settings().access_tokens

    assert [token.token.get_secret_value() for token in tokens] == [SECRET, "other-secret"]
    assert all(token.scopes == {INFER, JOBS} for token in tokens)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no token"),
        ("[]", "holds no token"),
        (f'["{SECRET}"', "neither JSON"),
        (f'[{{"{SECRET}": "alice"}}]', "keys other than"),
        (f'[{{"token": "{SECRET}", "scopes": ["{SECRET}"]}}]', "scopes"),
        (f'[{{"token": "{SECRET}", "scopes": []}}]', "scopes"),
        (f'[{{"token": "{SECRET}", "name": "{SECRET} "}}]', "name"),
        (f'{{"token": "{SECRET}"}}', "tuple"),
        (f"{SECRET},{SECRET}", "twice"),
        ("short", "8"),
        (f'[{{"token": "{SECRET}", "requests_per_minute": 0}}]', "requests_per_minute"),
    ],
)
def test_a_wrong_file_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "tokens").write_text(text)
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "tokens")

    with pytest.raises(ConfigurationError, match=problem) as caught:
        read_settings()

    assert "LLM_AUTH_TOKENS_FILE" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_missing_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_AUTH_TOKENS_FILE", "missing")

    with pytest.raises(ConfigurationError, match=r"LLM_AUTH_TOKENS_FILE.*No such file"):
        read_settings()


@pytest.mark.parametrize(
    ("scope", "path"),
    [(INFER, "/workflows"), (INFER, "/v1/models"), (JOBS, "/jobs"), (ADMIN, "/metrics")],
)
def test_a_path_needs_its_scope(scope: AccessScope, path: str) -> None:
    tokens: list[dict[str, Any]] = [{"token": f"token-for-{each}", "scopes": [each]} for each in AccessScope]
    with client_of(LLM_AUTH_TOKENS=tokens) as client:
        for each in AccessScope:
            response = client.get(path, headers={"Authorization": f"Bearer token-for-{each}"})
            if each is scope:
                assert response.status_code == 200
                continue
            assert response.status_code == 403
            assert f"scope {scope}" in response.text
            assert f'scope="{scope}"' in response.headers["www-authenticate"]


def test_open_paths_need_no_scope() -> None:
    with client_of(LLM_AUTH_TOKENS=[{"token": SECRET, "scopes": [ADMIN]}]) as client:
        assert client.get("/health", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
        assert_is_error(client.get("/workflows"), 401, "token")


HEADERS = {"Authorization": f"Bearer {SECRET}"}
ON_CHAIN = {"source": 0, "data": encode(["string"], ["one two"]).hex()}
CHAT = {"messages": [{"role": "user", "content": "one two three"}]}


def limited(**limits: int) -> list[Any]:
    return [{"token": SECRET, "name": "alice", **limits}, "other-secret"]


def test_requests_beyond_the_rate_are_refused_and_reading_is_not() -> None:
    with client_of(LLM_AUTH_TOKENS=limited(requests_per_minute=2)) as client:
        assert client.post("/service_output", json=PAYLOAD, headers=HEADERS).status_code == 200
        assert client.post("/v1/chat/completions", json=CHAT, headers=HEADERS).status_code == 200

        refused = client.post("/service_output", json=PAYLOAD, headers=HEADERS)
        assert_is_error(refused, 429, "requests per minute")
        assert 25 <= int(refused.headers["retry-after"]) <= 30
        openai = client.post("/v1/chat/completions", json=CHAT, headers=HEADERS)
        assert openai.status_code == 429
        error = openai.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert client.get("/jobs", headers=HEADERS).status_code == 200
        other = {"Authorization": "Bearer other-secret"}
        assert client.post("/service_output", json=PAYLOAD, headers=other).status_code == 200


def test_what_is_refused_for_another_reason_counts_only_where_it_was_let_in() -> None:
    with client_of(LLM_AUTH_TOKENS=limited(requests_per_minute=1)) as client:
        for _ in range(3):
            assert client.post("/metrics", headers=HEADERS).status_code == 403
        assert client.post("/service_output", json={}, headers=HEADERS).status_code == 400
        assert client.post("/service_output", json=PAYLOAD, headers=HEADERS).status_code == 429


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/service_output", PAYLOAD, {}),
        ("/service_output", {**PAYLOAD, "destination": 2}, {}),
        ("/service_output", ON_CHAIN, {}),
        ("/service_output", PAYLOAD, {"Idempotency-Key": "k"}),
        ("/service_output", PAYLOAD, {"Prefer": "respond-async"}),
        ("/workflows/dict/service_output", {**PAYLOAD, "destination": 2}, {}),
        ("/v1/chat/completions", CHAT, {}),
        ("/v1/chat/completions", {**CHAT, "stream": True, "n": 2}, {}),
        ("/v1/completions", {"prompt": "one two"}, {}),
        ("/v1/embeddings", {"input": ["one two three"]}, {}),
    ],
)
def test_the_tokens_of_an_answer_are_owed(path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    with client_of(LLM_AUTH_TOKENS=limited(tokens_per_minute=1)) as client:
        answered = client.post(path, json=body, headers={**HEADERS, **headers})
        assert answered.status_code in {200, 202}
        if answered.status_code == 202:
            job = client.get(f"/jobs/{answered.json()['id']}?wait=10", headers=HEADERS).json()
            assert job["status"] == "succeeded"

        refused = client.post("/service_output", json=PAYLOAD, headers=HEADERS)

    assert_is_error(refused, 429, "tokens per minute")
    assert int(refused.headers["retry-after"]) > 60


def test_the_tokens_that_a_reply_tells_of_are_those_that_are_owed() -> None:
    with client_of(LLM_AUTH_TOKENS=limited(tokens_per_minute=1)) as client:
        answered = client.post("/service_output", json=PAYLOAD, headers=HEADERS)
        used = sum(int(answered.headers[f"x-{kind}-tokens"]) for kind in ("prompt", "completion"))
        refused = client.post("/service_output", json=PAYLOAD, headers=HEADERS)

    assert 60 * (used - 1) - 5 <= int(refused.headers["retry-after"]) <= 60 * (used - 1)


class StoppingTextGenerator(BareTextGenerator):
    """Says a word, or embeds a text, and then nothing any more."""

    capabilities = frozenset({Capability.EMBEDDINGS})
    has_embedded = False

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        yield TokenChunk("almost")
        await asyncio.Event().wait()

    async def embed(self, text: str) -> Embedding:
        if self.has_embedded:
            await asyncio.Event().wait()
        self.has_embedded = True
        return Embedding((1.0,), Usage(101, 0))


LONG_CHAT = {"messages": [{"role": "user", "content": "word" * 100}]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", LONG_CHAT, 504),
        ("/v1/chat/completions", {**LONG_CHAT, "stream": True}, 200),
        ("/v1/embeddings", {"input": ["a", "b"]}, 504),
        ("/service_output", {"source": 1, "data": "word" * 100}, 504),
        ("/service_output", {"source": 1, "data": "word" * 100, "destination": 2}, 200),
    ],
)
def test_what_breaks_off_is_owed_for_as_far_as_it_came(path: str, body: dict[str, Any], status: int) -> None:
    settings: dict[str, Any] = {
        "LLM_AUTH_TOKENS": limited(tokens_per_minute=1),
        "LLM_REQUEST_TIMEOUT_S": 0.1,
    }
    with client_of(StoppingTextGenerator(), **settings) as client:
        assert client.post(path, json=body, headers=HEADERS).status_code == status
        refused = client.post(path, json=body, headers=HEADERS)

    assert refused.status_code == 429
    assert 60 * 100 - 5 <= int(refused.headers["retry-after"]) <= 60 * 100


def test_the_log_names_the_token_and_does_not_show_it(
    capsys: pytest.CaptureFixture[str], configured_logs: Callable[[str, str], None]
) -> None:
    configured_logs("debug", "json")
    with client_of(LLM_AUTH_TOKENS=limited()) as client:
        client.post("/service_output", json=PAYLOAD, headers=HEADERS)
        client.get("/metrics", headers=HEADERS)
        client.get("/jobs", headers={"Authorization": "Bearer other-secret"})
        client.get("/jobs", headers={"Authorization": "Bearer wrong-secret"})
        output = capsys.readouterr().err

    lines = [json.loads(line) for line in output.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line.get("token_name") for line in requests] == ["alice", "alice", None, None]
    assert "secret" not in output
