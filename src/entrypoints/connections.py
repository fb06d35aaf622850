"""``Connections``: Hypercorn's connections, with what it leaves out: a cap, deadlines, and a proper end.

It takes the place of Hypercorn's ``TCPServer`` in the process that serves (ADR 10). What is added:

- at most so many connections; the one that has gone longest without a request makes room, and where all have
  one, a new one gets 503;
- headers must be there within a time from the first byte, and from the connection's beginning (408);
- a connection that is closed is closed for writing first and read for a moment longer: what the client has
  sent meanwhile would otherwise reset it, the answer on its way included;
- told to stop, those without a request are served for a moment longer, for a request on its way, and every
  answer says ``Connection: close``; where one had begun before, another request may follow it;
- a connection that its client closed is let go of at once, not when its keep-alive time is over.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol

from domain.drain import Drain
from entrypoints.http.errors import error_content

LINGER_S = 1.0
"""For what is on its way between client and server."""

DRAIN_MARGIN = 0.15
"""Of the grace time: for the last words, and to close everything."""

HTTP2_PREFACE = b"PRI"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds on the connections of one process."""

    max_connections: int
    header_timeout_s: float


class Connections:
    """The connections of this process.

    Args:
        limits: what they are held to.
        drain: is begun when Hypercorn stops.
    """

    def __init__(self, limits: ConnectionLimits, drain: Drain) -> None:
        self.limits = limits
        self.drain = drain
        self._open: dict[Connection, None] = {}  # the oldest first
        self._watch: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Let Hypercorn make its connections here."""
        hypercorn.asyncio.run.TCPServer = self._connection  # type: ignore[assignment, attr-defined]

    def enter(self, connection: "Connection") -> bool:
        """Count one more; False where there is no room."""
        if len(self._open) >= self.limits.max_connections:
            idle = next((other for other in self._open if not other.is_serving), None)
            if idle is None:
                return False
            idle.abort()
            self.leave(idle)
        self._open[connection] = None
        return True

    def leave(self, connection: "Connection") -> None:
        """Count one less."""
        self._open.pop(connection, None)

    def _connection(self, *arguments: Any) -> "Connection":
        connection = Connection(self, *arguments)
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._watched(connection))
        return connection

    async def _watched(self, connection: "Connection") -> None:
        await connection.context.terminated.wait()
        config = connection.config
        config.keep_alive_max_requests = 0  # from now on answers say "Connection: close"
        self.drain.begin(config.graceful_timeout * (1 - DRAIN_MARGIN))


class Connection(TCPServer):
    """One connection. ``is_serving``: the headers of a request were read, and its answer is not over."""

    def __init__(self, connections: Connections, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.is_serving = False
        self._connections = connections
        self._is_ending = False
        self._is_aborted = False
        self._is_handling = False
        self._first_bytes = b""
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve it until it is closed."""
        # Hypercorn does not wait for those that it accepted when it was told to stop
        with self._connections.drain.held():
            await self._run()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        if not self._connections.enter(self):
            self._refuse(503, "there are too many connections")
            await self._discard()
            await self._close()
            return
        self._expect_headers()
        try:
            await super().run()
        except asyncio.CancelledError:
            if not self._is_aborted or self._task is None or self._task.uncancel():
                raise
        finally:
            self._stop_timer()
            self._connections.leave(self)

    async def protocol_send(self, event: Event) -> None:
        """Take what the protocol says: bytes, that it is over, that a request begins or has ended."""
        if isinstance(event, Closed):
            if not self._stays_open():
                self._end()
                return
            event = Updated(idle=True)
        if isinstance(event, Updated):
            self.is_serving = not event.idle
            if self.is_serving:
                self._stop_timer()
        await super().protocol_send(event)

    def abort(self) -> None:
        """Close it now, whatever is on its way."""
        self._is_aborted = True
        self.writer.transport.abort()
        if self._is_handling and self._task is not None:
            self._task.cancel()  # it waits for an answer to be over, to read a request that came behind it

    async def _read_data(self) -> None:
        while not self.reader.at_eof():
            try:
                data = await asyncio.wait_for(self.reader.read(MAX_RECV), self.config.read_timeout)
            except OSError:
                break
            if self._is_ending:
                continue
            if not self._first_bytes:
                self._first_bytes = data[: len(HTTP2_PREFACE)]
            if data and not self.is_serving and self._timer is None:
                self._expect_headers()
            self._is_handling = True
            await self.protocol.handle(RawData(data))
            self._is_handling = False
        self.is_serving = False
        await self.protocol.handle(Closed())
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        with suppress(TimeoutError):
            # not wait_for, which Python 3.11 may let swallow that a request came and this task is cancelled
            async with asyncio.timeout(self.config.keep_alive_timeout):
                await self.context.terminated.wait()
                await asyncio.sleep(LINGER_S)
        await asyncio.shield(self._initiate_server_close())

    async def _close(self) -> None:
        with suppress(OSError):  # the client has gone, which Hypercorn knows by other errors than uvloop's
            await super()._close()

    async def _initiate_server_close(self) -> None:
        await self.protocol.handle(Closed())
        self._end()

    def _stays_open(self) -> bool:
        """Wait for another request where no answer said that there will be none, though the process stops."""
        protocol = self.protocol.protocol
        if not isinstance(protocol, H11Protocol) or not isinstance(protocol.connection, h11.Connection):
            return False
        if protocol.connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return False
        protocol.connection.start_next_cycle()
        return True

    def _expect_headers(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._connections.limits.header_timeout_s, self._expire)

    def _expire(self) -> None:
        seconds = self._connections.limits.header_timeout_s
        if self._first_bytes in {b"", HTTP2_PREFACE}:
            self._end()
        else:
            self._refuse(408, f"the headers did not arrive within {seconds:g} s")

    def _refuse(self, status: int, description: str) -> None:
        self.writer.write(response_bytes(status, description))
        self._end()

    def _end(self) -> None:
        """Close for writing; for reading when the client has closed too, or after ``LINGER_S``."""
        if self._is_ending:
            return
        self._is_ending = True
        self.is_serving = False
        self._stop_timer()
        try:
            self.writer.write_eof()
        except (NotImplementedError, OSError, RuntimeError):  # TLS has no such thing
            self.writer.close()
        self._timer = self.loop.call_later(LINGER_S, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _discard(self) -> None:
        try:
            while not self.reader.at_eof():
                await self.reader.read(MAX_RECV)
        except OSError:
            return


def response_bytes(status: int, description: str) -> bytes:
    """Return an error's response as it goes over an HTTP/1.1 connection, which ends with it."""
    body = json.dumps(error_content(status, description)).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        head += "Retry-After: 1\r\n"
    return f"{head}\r\n".encode() + body
