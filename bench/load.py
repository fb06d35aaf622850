"""The load generator, in a process of its own: prints its figures as a JSON line.

Closed loop: so many callers, each asking again as soon as it has its answer. Open loop: requests arrive at a
rate, at Poisson times, whether the server keeps up or not.

Usage: python -m bench.load URL --set mixed (--callers 8 | --rate 2.5) [--requests 48] [--seed 0]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from bench.chat_client import Answer, ChatClient, Reply
from bench.figures import percentile, poisson_arrivals
from bench.prompt_sets import PROMPT_SETS, Conversation, answer_lengths, conversations

MAX_TOKENS = 64
REFUSALS = frozenset({"status 429", "status 503"})


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask of a server."""

    prompt_set: str
    num_requests: int
    num_callers: int | None = None
    """Of a closed loop."""
    rate: float | None = None
    """Requests a second, of an open loop."""
    seed: str = "0"
    max_tokens: int = MAX_TOKENS
    """Of each answer."""
    min_tokens: int | None = None
    """Of the shortest, where lengths are drawn from here to ``max_tokens``."""
    fields: dict[str, Any] = field(default_factory=lambda: {"ignore_eos": True})
    """More of the body."""

    @property
    def answer_lengths(self) -> list[int]:
        """How many tokens each answer is to have."""
        least = self.max_tokens if self.min_tokens is None else self.min_tokens
        return answer_lengths(least, self.max_tokens, self.num_requests, self.seed)


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What came of a load; times in seconds."""

    num_requests: int
    num_errors: int
    num_prompt_tokens: int
    num_completion_tokens: int
    duration_s: float
    """From the first request to the last answer."""
    tokens_per_s: float
    """Completion tokens over that time."""
    first_token_p50_s: float
    first_token_p95_s: float
    first_token_p99_s: float
    gap_p50_s: float
    """Between pieces of one answer."""
    gap_p99_s: float
    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    client_cpu_share: float
    """Processor seconds of the load generator a second."""
    arrivals_per_s: float = 0.0
    """Requests a second that really were sent."""
    refused_p99_s: float = 0.0
    """From a request to its refusal with 429 or 503."""
    errors: dict[str, int] = field(default_factory=dict)


def figures_of(answers: Sequence[Answer], cpu_s: float) -> LoadFigures:
    """Sum up the answers to a load, one or more."""
    good = [answer for answer in answers if answer.error is None]
    errors: dict[str, int] = {}
    for answer in answers:
        if answer.error is not None:
            errors[answer.error] = errors.get(answer.error, 0) + 1
    duration_s = max(a.ended_s for a in answers) - min(a.started_s for a in answers)
    first_s = [answer.first_token_s for answer in good]
    gaps_s = [gap for answer in good for gap in answer.gaps_s]
    latencies_s = [answer.ended_s - answer.started_s for answer in good]
    refused_s = [answer.ended_s - answer.started_s for answer in answers if answer.error in REFUSALS]
    starts_s = [answer.started_s for answer in answers]
    arriving_s = max(starts_s) - min(starts_s)
    num_tokens = sum(answer.num_completion_tokens for answer in good)
    return LoadFigures(
        num_requests=len(answers),
        num_errors=len(answers) - len(good),
        num_prompt_tokens=sum(answer.num_prompt_tokens for answer in good),
        num_completion_tokens=num_tokens,
        duration_s=duration_s,
        tokens_per_s=num_tokens / duration_s,
        first_token_p50_s=percentile(first_s, 0.5),
        first_token_p95_s=percentile(first_s, 0.95),
        first_token_p99_s=percentile(first_s, 0.99),
        gap_p50_s=percentile(gaps_s, 0.5),
        gap_p99_s=percentile(gaps_s, 0.99),
        latency_p50_s=percentile(latencies_s, 0.5),
        latency_p95_s=percentile(latencies_s, 0.95),
        latency_p99_s=percentile(latencies_s, 0.99),
        client_cpu_share=cpu_s / duration_s,
        arrivals_per_s=(len(answers) - 1) / arriving_s if arriving_s else 0.0,
        refused_p99_s=percentile(refused_s, 0.99) if refused_s else 0.0,
        errors=errors,
    )


async def offer(client: ChatClient, load: Load) -> list[Answer]:
    """Put a load on a server; returns the answers in the order of the prompts."""
    asked = conversations(load.prompt_set, load.num_requests, load.seed)
    bodies = [{"max_tokens": length, **load.fields} for length in load.answer_lengths]
    if load.rate is None:
        return await offer_each(client, asked, bodies, load.num_callers or 1)
    arrivals_s = poisson_arrivals(load.rate, load.num_requests, load.seed)
    replies = await asyncio.gather(
        *(
            _exchange_later(client, messages, body, arrival_s)
            for messages, body, arrival_s in zip(asked, bodies, arrivals_s, strict=True)
        )
    )
    return [reply.answer() for reply in replies]


async def offer_each(
    client: ChatClient, asked: Sequence[Conversation], bodies: Sequence[dict[str, Any]], num_callers: int
) -> list[Answer]:
    """Let callers ask one conversation after another, each with its own fields; returns the answers."""
    replies: dict[int, Reply] = {}
    waiting = iter(enumerate(zip(asked, bodies, strict=True)))

    async def caller() -> None:
        for index, (messages, body) in waiting:
            replies[index] = await client.exchange(messages, **body)

    await asyncio.gather(*(caller() for _ in range(num_callers)))
    # not before: a caller elsewhere would parse an answer without holding the server up
    return [replies[index].answer() for index in range(len(asked))]


async def _exchange_later(
    client: ChatClient, messages: Conversation, body: dict[str, Any], delay_s: float
) -> Reply:
    await asyncio.sleep(delay_s)
    return await client.exchange(messages, **body)


def run_load(
    base_url: str, model: str, load: Load, *, api_key: str | None = None, timeout_s: float = 600
) -> tuple[LoadFigures, list[str]]:
    """Run the generator in a process of its own; returns its figures and the texts of the answers.

    Raises:
        subprocess.SubprocessError: it failed or took too long.
    """
    command = [sys.executable, "-m", "bench.load", base_url, "--model", model, "--load", "-"]
    output = subprocess.run(
        command,
        input=json.dumps(asdict(load)),
        env={**os.environ, **({"BENCH_API_KEY": api_key} if api_key else {})},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
    ).stdout
    result = json.loads(output)
    return LoadFigures(**result["figures"]), result["texts"]


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="base URL with /v1; a key is read from BENCH_API_KEY")
    parser.add_argument("--model", default="default")
    parser.add_argument("--load", help="JSON of a load, in a file (-: standard input), instead of the below")
    parser.add_argument("--set", choices=sorted(PROMPT_SETS), default="mixed")
    parser.add_argument("--callers", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    _give_way()
    if options.load:
        read = sys.stdin.read() if options.load == "-" else Path(options.load).read_text(encoding="utf-8")
        load = Load(**json.loads(read))
    else:
        load = Load(options.set, options.requests, options.callers, options.rate, options.seed)
    figures, texts = uvloop.run(_measure(options.url, options.model, load))
    result = {"figures": asdict(figures)}
    print(json.dumps({**result, "texts": texts} if options.load else result))


def _give_way() -> None:
    """Interrupt no server: each piece it sends would have this process take its processor at once.

    A caller on another machine does not.
    """
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _measure(url: str, model: str, load: Load) -> tuple[LoadFigures, list[str]]:
    client = ChatClient(url, model, api_key=os.environ.get("BENCH_API_KEY"))
    began_s = time.process_time()
    answers = await offer(client, load)
    figures = figures_of(answers, time.process_time() - began_s)
    return figures, [answer.text for answer in answers]


if __name__ == "__main__":
    main()
