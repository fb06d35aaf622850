"""Stops the service while callers use it in every way, and tells what became of each request."""

import asyncio
import json
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

import h11

from tests.service_process import ServiceProcess, service

GRACE_S = 10.0
SETTLED_S = 0.5
"""A request that was sent this long before the signal was read before it."""
ANSWER_TIMEOUT_S = 20.0
WORDS = "one two three four five six seven eight nine ten"


class Fate(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    UNAVAILABLE = "got 503"
    CLOSED = "connection closed in good order before an answer began"
    RESET = "connection reset"
    CUT = "answer cut off"
    FAILED = "another status"
    SILENT = "no answer in time"


ORDERLY = frozenset({Fate.ANSWERED, Fate.UNAVAILABLE, Fate.CLOSED})


@dataclass(slots=True)
class Asked:
    """One request."""

    request_id: str
    sent_s: float
    fate: Fate = Fate.SILENT
    is_done: bool = False


@dataclass(slots=True)
class DrainFigures:
    """What came of one stop."""

    num_requests: int
    num_under_way: int
    """When the signal was sent."""
    exit_status: int
    stop_s: float
    fates: dict[str, int]
    problems: list[str] = field(default_factory=list)


class Caller:
    """Asks one thing after another, until there is no service any more.

    Args:
        name: of its requests.
        port: of the service.
        keeps_connection: whether it uses a connection again.
        streams: whether answers come piece by piece.
    """

    def __init__(self, name: str, port: int, *, keeps_connection: bool, streams: bool) -> None:
        self.asked: list[Asked] = []
        self._name = name
        self._port = port
        self._keeps_connection = keeps_connection
        payload = {"source": 1, "destination": 2 if streams else 1, "data": WORDS}
        self._body = json.dumps(payload).encode()
        self._random = random.Random(name)  # noqa: S311 - repeatable on purpose
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Ask until a connection is refused."""
        for number in count():
            if not await self._connect():
                return
            asked = Asked(f"{self._name}-{number}", time.monotonic())
            self.asked.append(asked)
            with suppress(TimeoutError):
                asked.fate = await asyncio.wait_for(self._ask(asked.request_id), ANSWER_TIMEOUT_S)
            asked.is_done = True
            if asked.fate is not Fate.ANSWERED or not self._keeps_connection:
                self._disconnect()
            await asyncio.sleep(self._random.uniform(0, 0.03))

    async def _connect(self) -> bool:
        if self._writer is not None:
            return True
        try:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        self._http = h11.Connection(h11.CLIENT)
        return True

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _ask(self, request_id: str) -> Fate:
        assert self._writer is not None
        headers = [
            ("Host", "x"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._body))),
            ("X-Request-ID", request_id),
        ]
        request = h11.Request(method="POST", target="/service_output", headers=headers)
        parts = (request, h11.Data(data=self._body), h11.EndOfMessage())
        self._writer.write(b"".join(self._http.send(part) or b"" for part in parts))
        status = 0
        while True:
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(1 << 16))
                    continue
            except OSError:
                return Fate.RESET
            except h11.RemoteProtocolError:
                return Fate.CUT if status else Fate.CLOSED
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.ConnectionClosed):
                return Fate.CLOSED
            elif isinstance(event, h11.EndOfMessage):
                break
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self._disconnect()
        return {200: Fate.ANSWERED, 503: Fate.UNAVAILABLE}.get(status, Fate.FAILED)


def stop_under_load(seed: int, *, num_workers: int = 2, num_callers: int = 24) -> DrainFigures:
    """Start the service, load it, tell it to stop at a random moment; returns what came of it."""
    arguments = (f"--workers={num_workers}", f"--graceful-timeout={GRACE_S:g}")
    with service(*arguments, LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.02") as running:
        asked, signalled_s, under_way = asyncio.run(_load(running, seed, num_callers))
        status = running.process.wait(GRACE_S + 20)
        stop_s = time.monotonic() - signalled_s
        running.stop()
        served = {line["request_id"]: line["status"] for line in running.log_lines("request")}
    figures = DrainFigures(len(asked), under_way, status, stop_s, {})
    for one in asked:
        figures.fates[one.fate] = figures.fates.get(one.fate, 0) + 1
        was_read = one.request_id in served or one.sent_s < signalled_s - SETTLED_S
        if one.fate not in ORDERLY or (was_read and one.fate is not Fate.ANSWERED):
            figures.problems.append(
                f"{one.request_id}, sent {one.sent_s - signalled_s:+.3f} s from the signal, logged as "
                f"{served.get(one.request_id)}: {one.fate}"
            )
    if status != 0:
        figures.problems.append(f"exit status {status}")
    if stop_s > GRACE_S:
        figures.problems.append(f"it took {stop_s:.1f} s to stop")
    return figures


async def _load(running: ServiceProcess, seed: int, num_callers: int) -> tuple[list[Asked], float, int]:
    port = int(running.url.rpartition(":")[2])
    callers = [
        Caller(f"{seed}-{n}", port, keeps_connection=n % 3 != 0, streams=n % 4 == 0)
        for n in range(num_callers)
    ]
    tasks = [asyncio.create_task(caller.run()) for caller in callers]
    await asyncio.sleep(random.Random(seed).uniform(0.7, 1.5))  # noqa: S311
    running.process.send_signal(signal.SIGTERM)
    signalled_s = time.monotonic()
    under_way = sum(not caller.asked[-1].is_done for caller in callers if caller.asked)
    await asyncio.gather(*tasks)
    return [asked for caller in callers for asked in caller.asked], signalled_s, under_way
