"""Bodies that arrive late or not at all."""

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from entrypoints.http.body import read_json_object


def request_of(*messages: Message) -> Request:
    queue = list(messages)

    async def receive() -> Message:
        if queue:
            return queue.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_that_does_not_arrive_is_a_408() -> None:
    stalled = request_of({"type": "http.request", "body": b'{"sour', "more_body": True})

    with pytest.raises(HTTPException, match=r"within 0\.02 s") as caught:
        await read_json_object(stalled, max_bytes=100, timeout_s=0.02)
    assert caught.value.status_code == 408


async def test_a_body_is_refused_as_soon_as_it_is_too_large() -> None:
    endless = request_of(*({"type": "http.request", "body": b"x" * 60, "more_body": True} for _ in range(9)))

    with pytest.raises(HTTPException) as caught:
        await read_json_object(endless, max_bytes=100)
    assert caught.value.status_code == 413


async def test_a_caller_who_leaves_in_the_middle_is_noticed() -> None:
    left = request_of({"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"})

    with pytest.raises(ClientDisconnect):
        await read_json_object(left, max_bytes=100)


async def test_a_body_in_pieces_is_put_together() -> None:
    pieces = request_of(
        {"type": "http.request", "body": b'{"a"', "more_body": True},
        {"type": "http.request", "body": b": 1}", "more_body": False},
    )

    assert await read_json_object(pieces, max_bytes=100) == {"a": 1}
