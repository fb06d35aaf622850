"""More requests than can be answered: who is let in is answered, the others are told at once to come back."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service_process import service

NUM_REQUESTS = 60
TEXT = "Tell me a very long story."


@pytest.mark.parametrize("num_workers", [1, 2])
def test_what_does_not_fit_is_refused_and_the_rest_is_answered(tiny_folder: Path, num_workers: int) -> None:
    settings: dict[str, Any] = {
        "LLM_MODEL": str(tiny_folder),
        "LLM_MAX_RUNNING_SEQUENCES": "2",
        "LLM_MAX_WAITING_REQUESTS": "2",
    }
    with service(f"--workers={num_workers}", **settings) as running:

        async def ask(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
            parameters = {"max_tokens": 150, "ignore_eos": True}
            if number % 2:
                body = {"messages": [{"role": "user", "content": TEXT}], **parameters}
                return await client.post("/v1/chat/completions", json=body)
            data = {"key": "", "messageId": "", "text": TEXT, "history": [], "parameters": parameters}
            return await client.post("/service_output", json={"source": 1, "data": data})

        async def scenario() -> list[httpx2.Response]:
            async with httpx2.AsyncClient(base_url=running.url, timeout=60) as client:
                return await asyncio.gather(*(ask(client, number) for number in range(NUM_REQUESTS)))

        responses = asyncio.run(scenario())
        later = running.post({"key": "", "messageId": "", "text": TEXT, "history": []})

    refused = [response for response in responses if response.status_code != 200]
    assert len(responses) - len(refused) >= 4
    assert {response.status_code for response in refused} == {429, 503}
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert later.status_code == 200


def test_a_job_waits_where_a_request_is_refused(tiny_folder: Path) -> None:
    settings: dict[str, Any] = {
        "LLM_MODEL": str(tiny_folder),
        "LLM_MAX_RUNNING_SEQUENCES": "1",
        "LLM_MAX_WAITING_REQUESTS": "1",
    }
    data = {"key": "", "messageId": "", "text": TEXT, "history": [], "parameters": {"max_tokens": 100}}
    with service(**settings) as running:
        accepted = [running.post(data, headers={"Prefer": "respond-async"}).json()["id"] for _ in range(12)]
        jobs = [httpx2.get(f"{running.url}/jobs/{job_id}?wait=60", timeout=70).json() for job_id in accepted]

    assert {job["status"] for job in jobs} == {"succeeded"}
