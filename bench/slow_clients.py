"""What clients that send a byte a second cost the others.

Half of the slow ones never finish their headers, half never finish a body; who is cut off comes again.

Usage: python -m bench.slow_clients [--slow 200] [--rounds 6] [--requests 100] [--quick]
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen

from bench.figures import paired_ratio, spread, verdict
from bench.load import Load
from bench.targets import service, started

BAR = 1.2
NUM_CALLERS = 8
HEAD = b"POST /service_output HTTP/1.1\r\nHost: slow\r\n"
BODY_HEAD = HEAD + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


async def send_slowly(port: int, beginning: bytes, pause_s: float = 1.0) -> bytes:
    """Send a beginning, then a byte at a time, until the server has closed; returns what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read(1 << 16))
    try:
        writer.write(beginning)
        with suppress(OSError):
            while not answer.done():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait({answer}, timeout=pause_s)
        return await answer
    finally:
        answer.cancel()
        writer.close()


async def be_slow(port: int, number: int) -> None:
    """Be so many slow clients, for ever."""

    async def client(beginning: bytes) -> None:
        while True:
            with suppress(OSError):
                await send_slowly(port, beginning)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        for index in range(number):
            group.create_task(client(HEAD + b"X-Slow: " if index % 2 else BODY_HEAD))
        await asyncio.sleep(1)
        print("slow", flush=True)


@contextmanager
def slow_clients(port: int, number: int) -> Iterator[None]:
    """Have slow clients in a process of their own, there from the beginning of the context on."""
    command = [sys.executable, "-m", "bench.slow_clients", "--port", str(port), "--slow", str(number)]
    with Popen(command, stdout=PIPE) as process:
        if process.stdout is not None:
            process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    """Print the 95th percentile of the others' time, without and with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=100, help="of each caller, in a round")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    parser.add_argument("--port", type=int, help="be the slow clients of this port")
    options = parser.parse_args()
    if options.port:
        asyncio.run(be_slow(options.port, options.slow))
    if options.quick:
        options.rounds, options.requests = 1, 20
    p95_s: dict[bool, list[float]] = {False: [], True: []}
    num_errors = 0
    with started(service("ours", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.002")) as server:
        port = int(server.url.rpartition(":")[2])
        for round_number in range(options.rounds):
            load = Load("short", NUM_CALLERS * options.requests, NUM_CALLERS, seed=str(round_number))
            for is_slow in (False, True) if round_number % 2 else (True, False):
                if is_slow:
                    with slow_clients(port, options.slow):
                        figures = server.run(load)[0]
                else:
                    figures = server.run(load)[0]
                p95_s[is_slow].append(figures.latency_p95_s)
                num_errors += figures.num_errors
    for is_slow, values in p95_s.items():
        shown = spread([value * 1000 for value in values]).shown()
        print(f"{options.slow if is_slow else 0} slow clients: p95 {shown} ms")
    ratio = paired_ratio(p95_s[True], p95_s[False])
    print(f"ratio {ratio.shown(2)} {verdict(ratio.median, BAR, at_most=True)}; {num_errors} errors")


if __name__ == "__main__":
    main()
