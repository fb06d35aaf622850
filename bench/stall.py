"""How long a prompt of 1,000 tokens holds eight running streams up.

Between its arrival and its first token, the gaps of the streams' tokens, 99th percentile, over the median gap
before it came.

Usage: python -m bench.stall [--rounds 8]
"""

import asyncio
import random

import uvloop
from bench.chat_client import Answer, ChatClient
from bench.figures import percentile, spread, verdict
from bench.options import round_options
from bench.prompt_sets import conversations, text_of
from bench.targets import Server, service, started

BAR = 3.0
NUM_STREAMS = 8
STREAM_TOKENS = 400
LONG_SENTENCES = 58
"""About 1,000 tokens."""
LEAD_TOKENS = 60
"""Of each stream, before the long prompt comes."""


async def measure(server: Server, seed: int) -> tuple[float, float, int]:
    """Return the median gap before, the 99th percentile meanwhile, and the long prompt's tokens."""
    client = ChatClient(server.base_url, server.model)
    streams = [
        asyncio.create_task(client.ask(messages, max_tokens=STREAM_TOKENS, ignore_eos=True, logprobs=True))
        for messages in conversations("short", NUM_STREAMS, f"stall {seed}")
    ]
    probe = conversations("short", 1, f"probe {seed}")[0]
    # a ninth answer of so many tokens tells that the streams are well under way
    await client.ask(probe, max_tokens=LEAD_TOKENS, ignore_eos=True)
    chance = random.Random(f"long {seed}")  # noqa: S311 - repeatable, not secret
    question = {"role": "user", "content": f"{text_of(LONG_SENTENCES, chance)} Tell what happened."}
    long = await client.ask([question], max_tokens=1, ignore_eos=True)
    answers = await asyncio.gather(*streams)
    for answer in (long, *answers):
        if answer.error is not None:
            raise RuntimeError(f"a request failed: {answer.error}")
    if min(answer.ended_s for answer in answers) < long.ended_s:
        raise RuntimeError("a stream ended before the long prompt was read")
    before, meanwhile = split_gaps(answers, long)
    return percentile(before, 0.5), percentile(meanwhile, 0.99), long.num_prompt_tokens


def split_gaps(answers: list[Answer], long: Answer) -> tuple[list[float], list[float]]:
    """Return the gaps that ended before the long prompt came, and those that overlap its reading."""
    began_s, first_s = long.started_s, long.piece_times_s[0]
    before, meanwhile = [], []
    for answer in answers:
        for start_s, gap_s in zip(answer.piece_times_s, answer.gaps_s, strict=False):
            if start_s + gap_s <= began_s:
                before.append(gap_s)
            elif start_s < first_s:
                meanwhile.append(gap_s)
    return before, meanwhile


def main() -> None:
    """Print the ratio of each round, and their median."""
    options = round_options(__doc__, rounds=8)
    ratios = []
    with started(service()) as server:
        for number in range(options.rounds):
            before_s, meanwhile_s, num_tokens = uvloop.run(measure(server, number))
            ratios.append(meanwhile_s / before_s)
            print(
                f"round {number + 1}: {num_tokens} tokens, median gap before {before_s * 1000:.1f} ms, "
                f"p99 meanwhile {meanwhile_s * 1000:.1f} ms",
                flush=True,
            )
    print(f"ratio {spread(ratios).shown(2)} {verdict(spread(ratios).median, BAR, at_most=True)}")


if __name__ == "__main__":
    main()
