"""The limits on tokens and on rates, in real processes."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service_process import service

TOKENS = json.dumps([{"token": "correct-horse", "name": "alice", "requests_per_minute": 4}])
REQUEST = {"key": "1", "messageId": "2", "text": "hi", "history": []}


def test_two_workers_together_grant_no_more_than_the_rate() -> None:
    with service("--workers=2", LLM_BACKEND="scripted", LLM_AUTH_TOKENS=TOKENS) as running:
        headers = {"authorization": "Bearer correct-horse"}
        # each over a connection of its own, so that both workers are asked
        replies = [running.post(REQUEST, headers=headers) for _ in range(40)]
        answered = [reply for reply in replies if reply.status_code == 200]
        refused = [reply for reply in replies if reply.status_code == 429]

        assert len(answered) + len(refused) == 40
        assert 2 <= len(answered) <= 5  # one may come in meanwhile
        assert all(1 <= int(reply.headers["retry-after"]) <= 30 for reply in refused)
        assert httpx2.get(f"{running.url}/workflows", headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/service_output", {"source": 1, "destination": 2, "data": REQUEST | {"text": "word " * 200}}),
        ("/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": "word " * 200}]}),
    ],
)
def test_a_stream_that_its_caller_breaks_off_is_owed_as_far_as_it_came(
    path: str, body: dict[str, Any]
) -> None:
    tokens = json.dumps([{"token": "correct-horse", "tokens_per_minute": 1}])
    headers = {"authorization": "Bearer correct-horse"}
    with service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.05", LLM_AUTH_TOKENS=tokens) as running:
        with httpx2.stream(
            "POST", f"{running.url}{path}", json=body, headers=headers, timeout=10
        ) as response:
            chunks = response.iter_bytes()
            for _ in range(5):
                next(chunks)
        running.wait_for_log("request")

        refused = running.post(REQUEST, headers=headers)

    assert refused.status_code == 429
    prompt = 250  # a token for each four bytes
    assert 60 * prompt < int(refused.headers["retry-after"]) < 60 * (prompt + 200)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_prompt_that_is_too_long_is_named_whoever_has_the_model(
    tiny_folder: Path, num_workers: int
) -> None:
    chat = {"messages": [{"role": "user", "content": "word " * 200}]}
    limits: dict[str, Any] = {"LLM_MAX_PROMPT_TOKENS": "100", "LLM_MAX_OUTPUT_TOKENS": "3"}
    with service(f"--workers={num_workers}", LLM_MODEL=str(tiny_folder), **limits) as running:
        refused = running.post(REQUEST | {"text": "word " * 200})
        openai = httpx2.post(f"{running.url}/v1/chat/completions", json=chat, timeout=30)
        embedded = httpx2.post(f"{running.url}/v1/embeddings", json={"input": "word " * 200}, timeout=30)
        answered = running.post(REQUEST)

    assert refused.status_code == openai.status_code == embedded.status_code == 400
    assert "data: the prompt of" in refused.json()["description"]
    assert openai.json()["error"]["param"] == "messages"
    assert openai.json()["error"]["code"] == "context_length_exceeded"
    assert embedded.json()["error"]["param"] == "input.0"
    assert "limit of 100 tokens" in refused.text
    assert int(answered.headers["x-completion-tokens"]) <= 3
