"""Whether the service grows: memory after the first requests and after many, lengths mixed, some cancelled.

Memory is taken while nothing runs: under load it is that of the prompts of the moment.

Usage: python -m bench.soak [--requests 20000] [--quick]
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import suppress

import uvloop
from bench.chat_client import ChatClient
from bench.figures import verdict
from bench.options import round_options
from bench.prompt_sets import PROMPT_SETS
from bench.targets import Server, service, started

GROWTH_BAR = 1.03
NUM_CALLERS = 16
NUM_TOKENS = 8
CANCELLED_SHARE = 0.1
SETS = ("short", "short", "short", "copy", "long")
WARM_SHARE = 0.1
"""Of the requests, after which memory is taken the first time."""
NUM_SAMPLES = 20
REST_S = 2.0
"""By then an idle service has given back what it gives."""


async def soak(server: Server, num_requests: int) -> list[tuple[int, int]]:
    """Send all; returns its memory in bytes after so many requests, at even steps."""
    client = ChatClient(server.base_url, server.model)
    chance = random.Random("soak")  # noqa: S311 - repeatable, not secret
    samples: list[tuple[int, int]] = []
    num_errors = 0

    async def caller(indices: Iterator[int]) -> None:
        nonlocal num_errors
        for index in indices:
            messages = PROMPT_SETS[chance.choice(SETS)](chance, index)
            asking = client.ask(messages, max_tokens=NUM_TOKENS, ignore_eos=True)
            if chance.random() < CANCELLED_SHARE:
                with suppress(TimeoutError):
                    async with asyncio.timeout(chance.uniform(0, 0.5)):
                        await asking
            else:
                num_errors += (await asking).error is not None

    step = max(1, num_requests // NUM_SAMPLES)
    for first in range(0, num_requests, step):
        end = min(first + step, num_requests)
        indices = iter(range(first, end))
        await asyncio.gather(*(caller(indices) for _ in range(NUM_CALLERS)))
        await asyncio.sleep(REST_S)
        samples.append((end, server.running.memory_bytes))
        print(f"after {samples[-1][0]:6} requests {samples[-1][1] / 2**20:7.1f} MiB", flush=True)
    if num_errors:
        print(f"{num_errors} requests failed")
    return samples


def main() -> None:
    """Print the memory as it goes, and the growth."""
    options = round_options(__doc__, requests=20_000)
    num_requests = 200 if options.quick else options.requests
    began_s = time.monotonic()
    with started(service()) as server:
        samples = uvloop.run(soak(server, num_requests))
    warm = next(size for num_done, size in samples if num_done >= num_requests * WARM_SHARE)
    last = samples[-1][1]
    print(
        f"{num_requests} requests in {time.monotonic() - began_s:.0f} s: memory at the end over that after "
        f"the first tenth {verdict(last / warm, GROWTH_BAR, at_most=True)}"
    )


if __name__ == "__main__":
    main()
