"""Answers that go out piece by piece: ``PieceResponse``, and the plain form that a node passes on."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Generic, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from domain.errors import ServiceError
from domain.reply_stream import ReplyStream
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.errors import error_content, log_failure, status_of

PieceT = TypeVar("PieceT")

BROKEN_OFF = "\n\n[stream broken off] "
"""Stands before the error, in the form of every other, when a stream fails after its first piece."""


class PieceResponse(Response, ABC, Generic[PieceT]):
    """The response of a stream whose first piece is there.

    Starlette's ``StreamingResponse`` reads an iterator in a task of its own; here the task that makes a piece
    sends it too.

    Args:
        stream: closed when the response is over, however it ends.
        headers: of the response.
    """

    def __init__(self, stream: ReplyStream[PieceT], headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.init_headers(headers)  # without a body, so without a length
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces until the end, or until the caller has gone."""
        try:
            with suppress(ClientDisconnect):
                await unless_disconnected(Request(scope, receive), self._respond(scope, send))
        finally:
            await self._stream.aclose()

    @abstractmethod
    def encoded(self, piece: PieceT) -> bytes:
        """Return what is sent of a piece; nothing, where it says nothing."""

    @abstractmethod
    def ending(self) -> bytes:
        """Return what stands behind the last piece."""

    @abstractmethod
    def failure(self, scope: Scope, error: Exception) -> bytes:
        """Return what is sent instead where the stream broke off."""

    async def _respond(self, scope: Scope, send: Send) -> None:
        async def take(piece: PieceT) -> None:
            if body := self.encoded(piece):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await self._stream.pass_to(take)
            last = self.ending()
        except Exception as error:  # noqa: BLE001 - the status is sent: only the body can tell
            last = self.failure(scope, error)
        await send({"type": "http.response.body", "body": last, "more_body": False})


class MarkedStream(PieceResponse[str]):
    """Raw pieces of text, and a marker where they broke off."""

    media_type = "text/plain"

    def encoded(self, piece: str) -> bytes:
        return piece.encode(errors="replace")

    def ending(self) -> bytes:
        return b""

    def failure(self, scope: Scope, error: Exception) -> bytes:  # noqa: ARG002 - its form is always the same
        if not isinstance(error, ServiceError):
            raise error
        log_failure(error)
        return f"{BROKEN_OFF}{json.dumps(error_content(status_of(error), str(error)))}\n".encode()
