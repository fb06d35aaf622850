"""Every error that an on-chain request can meet has a ``code`` that keeps its text off the chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from eth_abi.abi import encode

from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.ports import TextGenerator
from entrypoints.container import build_container
from entrypoints.http.app import create_app
from tests.fakes.backends import EndlessTextGenerator, FailingTextGenerator

PAYLOAD = {"source": 0, "destination": 0, "data": encode(["string"], ["my secret words"]).hex()}
PATH = "/service_output"


@asynccontextmanager
async def client_of(
    generator: TextGenerator | None = None, **settings: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    own = Settings(_env_file=None, **{"LLM_JOURNAL": "memory", **settings})
    app = create_app(build_container(own, generator=generator or ScriptedTextGenerator()))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


def assert_stays_off_the_chain(response: httpx2.Response, status: int) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["code"] == str(status)
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("status", "settings", "request_"),
    [
        (401, {"LLM_AUTH_TOKENS": ["first-token"]}, {"json": PAYLOAD}),
        (404, {}, {"json": PAYLOAD, "url": "/workflows/none/service_output"}),
        (404, {}, {"json": PAYLOAD, "url": "/service_outputs"}),
        (405, {}, {"json": PAYLOAD, "method": "PUT"}),
        (413, {"LLM_MAX_BODY_BYTES": 50}, {"json": PAYLOAD}),
        (415, {}, {"content": b"x", "headers": {"Content-Type": "text/plain"}}),
    ],
)
async def test_what_the_framework_refuses_has_a_code(
    status: int, settings: dict[str, Any], request_: dict[str, Any]
) -> None:
    async with client_of(**settings) as client:
        response = await client.request(**{"method": "POST", "url": PATH, **request_})

    assert_stays_off_the_chain(response, status)


@pytest.mark.parametrize("path", [PATH, "/proofs/verify"])
async def test_a_body_that_does_not_arrive_has_a_code(path: str) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b'{"source": 0,'
        await asyncio.Event().wait()

    async with client_of(LLM_BODY_TIMEOUT_S=0.05) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.post(path, content=stalling(), headers=headers)

    assert_stays_off_the_chain(response, 408)


async def test_a_backend_that_is_gone_has_a_code() -> None:
    async with client_of(FailingTextGenerator()) as client:
        assert_stays_off_the_chain(await client.post(PATH, json=PAYLOAD), 503)


async def test_too_many_requests_have_a_code() -> None:
    generator = EndlessTextGenerator()
    async with client_of(generator, LLM_MAX_CONCURRENT_REQUESTS=1) as client:
        first = asyncio.create_task(client.post(PATH, json=PAYLOAD))
        while not generator.num_running:
            await asyncio.sleep(0.01)
        second = await client.post(PATH, json=PAYLOAD)
        first.cancel()

    assert_stays_off_the_chain(second, 503)
