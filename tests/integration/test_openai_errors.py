"""What becomes of a server that misbehaves."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from adapters.openai_http.generator import OpenAITextGenerator
from domain.errors import (
    BackendError,
    ContextLengthError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
)
from domain.generation import FinishReason, Generation, Usage
from domain.workflow import collect
from tests.contract.text_generator import prompt
from tests.scripted_server import Answer, scripted_server, send

SECRET = "sk-very-secret"


def event(content: str | None = None, finish_reason: str | None = None, usage: Any = None) -> bytes:
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    chunk = body | {"choices": choices if usage is None else [], "usage": usage}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def stream(*events: bytes) -> bytes:
    return b"".join(events) + b"data: [DONE]\n\n"


def send_stream(handler: BaseHTTPRequestHandler, body: bytes, claimed_size: int | None = None) -> None:
    send(handler, 200, body, content_type="text/event-stream", claimed_size=claimed_size)


async def answered_by(answer: Answer, **options: Any) -> Generation:
    with scripted_server(answer) as url:
        settings: dict[str, Any] = {"model": "m", "api_key": SECRET, "max_retries": 0} | options
        generator = OpenAITextGenerator(f"{url}/v1", **settings)
        await generator.open()
        try:
            return await collect(generator.generate(prompt("my words")))
        finally:
            await generator.close()


async def test_a_whole_stream_is_an_answer() -> None:
    body = stream(
        event("to"),
        event(" be"),
        event(None, "stop"),
        event(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    )

    generation = await answered_by(lambda handler, _: send_stream(handler, body))

    assert generation == Generation("to be", FinishReason.STOP, Usage(3, 2))


async def test_the_request_is_that_of_the_openai_api() -> None:
    seen: dict[str, Any] = {}

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        seen.update(json.loads(body), path=handler.path, key=handler.headers["Authorization"])
        send_stream(handler, stream(event("x", "length")))

    generation = await answered_by(answer)

    assert generation.finish_reason is FinishReason.LENGTH
    assert seen["path"] == "/v1/chat/completions"
    assert seen["key"] == f"Bearer {SECRET}"
    assert seen["messages"] == [{"role": "user", "content": "my words"}]
    assert seen["stream"] is True
    assert seen["max_tokens"] == 12
    assert not {"seed", "stop", "top_k", "min_p", "repetition_penalty"} & set(seen)


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (401, "bad key", BackendError, "credentials"),
        (403, "no", BackendError, "credentials"),
        (404, "no such model", BackendError, "404"),
        (400, "unknown field my words", InvalidRequestError, "refused the request"),
        (400, "maximum context length is 8 tokens", ContextLengthError, "no room"),
        (429, "slow down", OverloadedError, "overloaded"),
        (500, "my words crashed me", BackendError, "500"),
        (503, "loading", BackendError, "503"),
    ],
)
async def test_each_status_has_its_error_without_the_servers_words(
    status: int, body: str, expected: type[ServiceError], words: str
) -> None:
    with pytest.raises(expected, match=words) as caught:
        await answered_by(lambda handler, _: send(handler, status, json.dumps({"error": body}).encode()))

    assert "my words" not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_the_wait_that_an_overloaded_server_asks_for_is_passed_on() -> None:
    with pytest.raises(OverloadedError) as caught:
        await answered_by(lambda handler, _: send(handler, 429, b"{}", headers={"Retry-After": "9"}))

    assert caught.value.retry_after_s == 9


@pytest.mark.parametrize(
    "body",
    [
        event("to"),
        stream(event("to"), event(" be")),
        b"data: {not json\n\n",
        b"",
    ],
    ids=["no end", "no finish reason", "not json", "empty"],
)
async def test_a_stream_that_is_not_whole_is_an_error(body: bytes) -> None:
    with pytest.raises(BackendError):
        await answered_by(lambda handler, _: send_stream(handler, body))


async def test_a_connection_that_breaks_in_the_stream_is_an_error() -> None:
    with pytest.raises(BackendError):
        await answered_by(lambda handler, _: send_stream(handler, event("to"), claimed_size=10_000))


async def test_an_error_event_inside_the_stream_is_an_error() -> None:
    body = event("to") + b'data: {"error": {"message": "my words", "code": 500}}\n\n'

    with pytest.raises(BackendError) as caught:
        await answered_by(lambda handler, _: send_stream(handler, body))
    assert "my words" not in str(caught.value)


async def test_a_server_that_says_nothing_runs_into_the_read_time_out() -> None:
    with pytest.raises(DeadlineExceededError):
        await answered_by(lambda *_: time.sleep(0.4), read_timeout_s=0.1)


async def test_a_failure_before_the_first_byte_is_tried_again() -> None:
    num_requests = 0

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        nonlocal num_requests
        num_requests += 1
        if num_requests < 3:
            send(handler, 500, b"{}", headers={"retry-after-ms": "1"})
        else:
            send_stream(handler, stream(event("third", "stop")))

    generation = await answered_by(answer, max_retries=2)

    assert generation.text == "third"
    assert num_requests == 3


async def test_a_stream_that_breaks_off_is_not_tried_again() -> None:
    num_requests = 0

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        nonlocal num_requests
        num_requests += 1
        send_stream(handler, event("to"), claimed_size=10_000)

    with pytest.raises(BackendError):
        await answered_by(answer, max_retries=3)
    assert num_requests == 1


async def test_the_service_starts_without_its_server_and_is_not_ready_until_it_is_there() -> None:
    with scripted_server(lambda handler, _: send(handler, 200)) as url:
        free_url = url
    generator = OpenAITextGenerator(f"{free_url}/v1", connect_timeout_s=1)
    await generator.open()
    try:
        with pytest.raises(BackendError, match="cannot be reached"):
            await generator.ping()
        with pytest.raises(BackendError, match="cannot be reached"):
            await collect(generator.generate(prompt()))
    finally:
        await generator.close()


@contextmanager
def listing(models: list[str]) -> Iterator[str]:
    content = {"object": "list", "data": [{"id": name, "object": "model"} for name in models]}
    with scripted_server(lambda handler, _: send(handler, 200, json.dumps(content).encode())) as url:
        yield url


async def test_a_server_without_models_is_not_ready() -> None:
    with listing([]) as url:
        generator = OpenAITextGenerator(f"{url}/v1")
        await generator.open()
        with pytest.raises(BackendError, match="no model"):
            await generator.ping()
        await generator.close()
