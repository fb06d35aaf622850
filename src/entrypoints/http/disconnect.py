"""Stops the work for a caller who has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from domain.interruption import Interruption

ResultT = TypeVar("ResultT")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run ``work``; cancel it when the caller closes the connection. The body must have been read.

    Raises:
        ClientDisconnect: the caller has gone.
    """
    with _Disconnect(request):
        return await work


class _Disconnect(Interruption):
    """Watches over a connection."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def begin(self) -> None:
        self._watch = asyncio.ensure_future(self._watched())

    def end(self) -> None:
        self._watch.cancel()

    def error(self) -> Exception:
        return ClientDisconnect()

    async def _watched(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.interrupt()
