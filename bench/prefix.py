"""What remembering prompts saves: the second turn of a conversation, and a system prompt that all share.

Usage: python -m bench.prefix [--rounds 4] [--requests 4] [--quick]
"""

import random

import uvloop
from bench.chat_client import ChatClient
from bench.figures import paired_ratio, percentile, spread, verdict
from bench.load import Load
from bench.options import round_options
from bench.prompt_sets import HISTORY_SENTENCES, question, text_of
from bench.targets import Server, awake, service, started

SECOND_TURN_BAR = 0.25
SHARED_BAR = 2.0
NUM_CALLERS = 16
SHARED_TOKENS = 16
ANSWER_TOKENS = 32


async def turns(server: Server, seed: str) -> tuple[float, float]:
    """Return the seconds to the first token of the first turn (about 800 tokens) and of the second."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    client = ChatClient(server.base_url, server.model)
    messages = [{"role": "user", "content": f"{text_of(HISTORY_SENTENCES, chance)} Tell what happened."}]
    first = await client.ask(messages, max_tokens=ANSWER_TOKENS)
    messages += [
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": question(chance)},
    ]
    second = await client.ask(messages, max_tokens=ANSWER_TOKENS)
    return first.first_token_s, second.first_token_s


def second_turn(server: Server, num_rounds: int, per_round: int) -> None:
    """Print the time to the first token of both turns, and their ratio."""
    first_s, second_s = [], []
    for number in range(num_rounds):
        pairs = [uvloop.run(turns(server, f"{number} {index}")) for index in range(per_round)]
        first_s.append(percentile([pair[0] for pair in pairs], 0.5))
        second_s.append(percentile([pair[1] for pair in pairs], 0.5))
    ratio = paired_ratio(second_s, first_s)
    print(
        f"second turn: first token after {spread(second_s).shown(3)} s, of the first turn "
        f"{spread(first_s).shown(3)} s, ratio {ratio.shown(2)} "
        f"{verdict(ratio.median, SECOND_TURN_BAR, at_most=True)}"
    )


def shared_prefix(cached: Server, uncached: Server, num_rounds: int, per_caller: int) -> None:
    """Print the throughput with and without the cache, and their ratio."""
    rates: dict[str, list[float]] = {cached.name: [], uncached.name: []}
    for number in range(num_rounds):
        for server in (cached, uncached) if number % 2 else (uncached, cached):
            load = Load(
                "shared_prefix",
                NUM_CALLERS * per_caller,
                num_callers=NUM_CALLERS,
                seed=str(number),
                max_tokens=SHARED_TOKENS,
            )
            with awake(server):
                rates[server.name].append(server.run(load)[0].tokens_per_s)
    ratio = paired_ratio(rates[cached.name], rates[uncached.name])
    print(
        f"shared prefix, {NUM_CALLERS} callers: {spread(rates[cached.name]).shown()} tok/s, without the "
        f"cache {spread(rates[uncached.name]).shown()}, ratio {ratio.shown(2)} "
        f"{verdict(ratio.median, SHARED_BAR)}"
    )


def main() -> None:
    """Print both."""
    options = round_options(__doc__)
    cached, uncached = service("cache on"), service("cache off", LLM_PREFIX_CACHE_MIB="0")
    with started(cached), started(uncached):
        for server in (cached, uncached):
            server.run(Load("short", 2, num_callers=1, seed="warm-up", max_tokens=8))
            server.pause()
        with awake(cached):
            second_turn(cached, options.rounds, options.requests)
        shared_prefix(cached, uncached, options.rounds, options.requests)


if __name__ == "__main__":
    main()
