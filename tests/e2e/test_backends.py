"""Swapping the backend is a line of the environment."""

from pathlib import Path

import httpx2

from tests.llama_server import llama_server
from tests.scripted_server import scripted_server, send
from tests.service_process import service, started

DATA = {
    "key": "1",
    "messageId": "2",
    "text": "What is the capital of France? Answer with one word.",
    "history": [],
}
DEFAULTS = '{"max_tokens": 8}'


def test_the_same_request_on_the_model_here_and_on_a_server_elsewhere(
    smollm2_folder: Path, smollm2_gguf: Path
) -> None:
    with service(LLM_MODEL=str(smollm2_folder), LLM_DEFAULT_PARAMETERS=DEFAULTS) as running:
        here = running.post(DATA)
    with (
        llama_server(smollm2_gguf) as url,
        service(LLM_BACKEND="openai", LLM_OPENAI_BASE_URL=url, LLM_DEFAULT_PARAMETERS=DEFAULTS) as running,
    ):
        elsewhere = running.post(DATA)

    assert "Paris" in here.json()
    assert "Paris" in elsewhere.json()
    assert elsewhere.headers["x-model-id"] == "smollm2"
    assert elsewhere.headers["x-prompt-tokens"] == here.headers["x-prompt-tokens"]


def test_the_scripted_backend_says_what_it_is_told_to() -> None:
    with service(LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="forty two") as running:
        assert running.post(DATA).json() == "forty two"


def test_a_server_that_is_gone_is_a_503_and_the_service_comes_back_with_it() -> None:
    is_there = False
    content = b'{"object": "list", "data": [{"id": "m", "object": "model"}]}'
    with (
        scripted_server(lambda handler, _: send(handler, 200 if is_there else 503, content)) as url,
        started(
            "--bind=127.0.0.1:0", LLM_BACKEND="openai", LLM_OPENAI_BASE_URL=url, LLM_OPENAI_MAX_RETRIES="0"
        ) as running,
    ):
        address = running.wait_for_address()
        assert httpx2.get(f"{address}/health").status_code == 200
        assert httpx2.get(f"{address}/health/ready").status_code == 503
        response = running.post(DATA)
        assert response.status_code == 503
        assert response.headers["retry-after"]

        is_there = True
        assert httpx2.get(f"{address}/health/ready").json()["model"] == "m"
