"""What a client leaves behind that goes away: how soon its slot serves another, and whether anything stays.

First with one slot: a running answer is broken off while another waits for the slot; measured is the time to
the other's first token, which holds the reading of its prompt (told alone beside it). Then with the usual
slots: random cancellations under load, beside callers whose answers are compared with those of a quiet run.

Usage: python -m bench.cancellation [--rounds 30] [--requests 1000] [--quick]
"""

import asyncio
import random
import time
from contextlib import suppress

import uvloop
from bench import models
from bench.chat_client import ChatClient
from bench.figures import percentile, verdict
from bench.likelihood import NEAR_TIE, Judge
from bench.load import offer_each
from bench.options import round_options
from bench.prompt_sets import Conversation, conversations
from bench.targets import NUM_SLOTS, Server, service, started

REUSE_BAR_S = 0.1
MEMORY_BAR = 1.03
NUM_STEADY = 4
NUM_LEAVING = 12
STEADY_BODY = {"max_tokens": 48, "ignore_eos": True}
NUM_COMPARED = 40
FILLING_BODY = {"max_tokens": 200, "ignore_eos": True}
NUM_FILLING = 4 * NUM_SLOTS
"""Of the longest requests, as many as fill every slot and more than the prefix cache holds."""
SETTLE_S = 1.0


async def reuse_s(server: Server, num_rounds: int) -> tuple[list[float], list[float]]:
    """Return the times from leaving to the waiting answer's first token, and its first-token times alone."""
    client = ChatClient(server.base_url, server.model)
    reused_s, alone_s = [], []
    asked = iter(conversations("short", 3 * num_rounds, "reuse"))
    for _ in range(num_rounds):
        alone_s.append((await client.ask(next(asked), max_tokens=1)).first_token_s)
        leaving = asyncio.create_task(client.ask(next(asked), max_tokens=1000, ignore_eos=True))
        await asyncio.sleep(0.3)
        waiting = asyncio.create_task(client.ask(next(asked), max_tokens=1))
        await asyncio.sleep(0.3)
        left_s = time.perf_counter()
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        reused_s.append((await waiting).piece_times_s[0] - left_s)
    return reused_s, alone_s


async def leave_at_random(client: ChatClient, num_requests: int) -> None:
    """Ask, and go away before, during or after the answer; some together, each at its own time."""
    chance = random.Random("leaving")  # noqa: S311 - repeatable, not secret
    asked = iter(conversations("mixed", num_requests, "leaving"))

    async def caller() -> None:
        for messages in asked:
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 2)):
                    await client.ask(messages, **FILLING_BODY)

    await asyncio.gather(*(caller() for _ in range(NUM_LEAVING)))


async def steady(client: ChatClient, asked: list[Conversation]) -> list[str]:
    """Return the answers of the callers that stay."""
    answers = await offer_each(client, asked, [STEADY_BODY] * len(asked), NUM_STEADY)
    return [answer.text if answer.error is None else f"error: {answer.error}" for answer in answers]


async def full_house_s(client: ChatClient, seed: str) -> float:
    """Return the longest time to a first token of as many requests as there are slots, all at once."""
    asked = conversations("short", NUM_SLOTS, seed)
    answers = await offer_each(client, asked, [STEADY_BODY] * NUM_SLOTS, NUM_SLOTS)
    return max(answer.first_token_s for answer in answers)


async def under_load(server: Server, num_requests: int) -> list[tuple[Conversation, str, str]]:
    """Print what stays behind; returns the steady callers' questions with their quiet and loaded answers."""
    client = ChatClient(server.base_url, server.model)
    asked = conversations("mixed", NUM_COMPARED, "steady")
    quiet = await steady(client, asked)
    # what a busy service takes anyway: slots that were never full, caches that fill
    filling = conversations("long", NUM_FILLING, "filling")
    await offer_each(client, filling, [FILLING_BODY] * NUM_FILLING, NUM_SLOTS)
    await leave_at_random(client, max(1, num_requests // 5))
    await asyncio.sleep(SETTLE_S)
    before, full_before_s = server.running.memory_bytes, await full_house_s(client, "full before")
    leaving = asyncio.create_task(leave_at_random(client, num_requests))
    loaded: list[list[str]] = []
    while not leaving.done() or not loaded:
        loaded.append(await steady(client, asked))
    await leaving
    await asyncio.sleep(SETTLE_S)
    after, full_after_s = server.running.memory_bytes, await full_house_s(client, "full after")
    print(
        f"{num_requests} cancellations: memory {before / 2**20:.0f} -> {after / 2**20:.0f} MiB, "
        f"{verdict(after / before, MEMORY_BAR, at_most=True)}"
    )
    print(
        f"slots: {NUM_SLOTS} at once have their first tokens after {full_before_s:.2f} s before and "
        f"{full_after_s:.2f} s afterwards"
    )
    return [entry for answers in loaded for entry in zip(asked, quiet, answers, strict=True)]


def compare_answers(pairs: list[tuple[Conversation, str, str]]) -> None:
    """Print how many answers differ from those of the quiet run, and at what."""
    judge = Judge(models.served_folder())
    num_errors = sum(text.startswith("error: ") for _, _, text in pairs)
    gaps = [gap for entry in pairs if entry[1] != entry[2] and (gap := judge.parting_gap(*entry)) is not None]
    num_wide = sum(gap >= NEAR_TIE for gap in gaps)
    widest = f", the widest gap {max(gaps):.4f}" if gaps else ""
    print(
        f"others: {len(pairs)} answers, {num_errors} errors, {len(gaps)} part from the quiet run's, "
        f"{num_wide} of them at no near-tie (logits {NEAR_TIE:g} apart or more){widest}"
    )


def main() -> None:
    """Print all."""
    options = round_options(__doc__, rounds=30, requests=1000)
    num_rounds, num_requests = (3, 50) if options.quick else (options.rounds, options.requests)
    with started(service(LLM_MAX_RUNNING_SEQUENCES="1", LLM_LOOKUP_TOKENS="0")) as server:
        reused_s, alone_s = uvloop.run(reuse_s(server, num_rounds))
    alone_p50_s = percentile(alone_s, 0.5)
    print(
        f"slot reused: the other's first token p50 {percentile(reused_s, 0.5) * 1000:.0f} ms after leaving, "
        f"longest {max(reused_s) * 1000:.0f} ms; alone it takes {alone_p50_s * 1000:.0f} ms, so the "
        f"slot took at most {verdict(max(reused_s) - alone_p50_s, REUSE_BAR_S, at_most=True)} s"
    )
    with started(service()) as server:
        pairs = uvloop.run(under_load(server, num_requests))
    compare_answers(pairs)


if __name__ == "__main__":
    main()
