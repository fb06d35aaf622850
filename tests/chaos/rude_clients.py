"""Clients that behave badly: they leave in the middle, send a byte at a time, or send what is no HTTP."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.chaos.callers import TEXTS, payload_of

PAUSE_S = 0.3
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /service_output HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b'POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"source": 1, "da',
    b"POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n\x00\x00\xff\xfe\x00{}[]\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff",
    b"\r\n" * 500,
)


class RudeClient:
    """One of them.

    Args:
        port: of the service.
        chance: what it does, and when.
    """

    def __init__(self, port: int, chance: random.Random) -> None:
        self._port = port
        self._chance = chance
        self.num_times = 0

    async def run(self) -> None:
        """Be rude until cancelled."""
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(10):
                    await self._chance.choice((self._leave, self._dawdle, self._babble))()
            self.num_times += 1
            await asyncio.sleep(self._chance.uniform(0, PAUSE_S))

    async def _leave(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(self._request())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._chance.uniform(0, 0.3)):
                    await reader.read(1 << 16)
            if self._chance.random() < 0.5:
                writer.transport.abort()

    async def _dawdle(self) -> None:
        async with self._connection() as (_, writer):
            for byte in self._request()[: self._chance.randrange(5, 30)]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)

    async def _babble(self) -> None:
        async with self._connection() as (reader, writer):
            writer.write(self._chance.choice(GARBAGE))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await reader.read(1 << 16)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _request(self) -> bytes:
        body = json.dumps(payload_of(self._chance.choice(TEXTS), destination=2)).encode()
        head = f"POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body
