"""Streams as a node passes them on: raw pieces of text, and a marker where one broke off."""

import json
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from domain.errors import ServiceError
from domain.reply_stream import ReplyStream
from entrypoints.http.errors import error_content, log_failure, status_of

BROKEN_OFF = "\n\n[stream broken off] "
"""Stands before the error, in the form of every other, when a stream fails after its first piece."""


class MarkedStream(StreamingResponse):
    """The response of a stream whose first piece is there.

    Args:
        stream: closed when the response is over, however it ends.
        headers: of the response.
    """

    def __init__(self, stream: ReplyStream[str], headers: Mapping[str, str]) -> None:
        super().__init__(_encoded(stream), headers=headers, media_type="text/plain")
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until the end, or until the caller has gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()


async def _encoded(stream: ReplyStream[str]) -> AsyncIterator[bytes]:
    try:
        async for piece in stream:
            yield piece.encode(errors="replace")
    except ServiceError as error:
        log_failure(error)
        yield f"{BROKEN_OFF}{json.dumps(error_content(status_of(error), str(error)))}\n".encode()
