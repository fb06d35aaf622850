"""What reading a chunk in the pass that decodes saves, beside two passes: milliseconds, runs interleaved.

Usage: python -m bench.passes [--rounds 25] [--quick]
"""

import time
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from bench import models
from bench.figures import paired_ratio, spread
from bench.options import round_options
from bench.targets import MAX_CONTEXT_TOKENS, NUM_SLOTS

from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession, TokenIds
from adapters.processors import num_processors

NUM_PAST = 100
"""Tokens already in each slot."""
ROWS = (1, 4, 8, 15)
CHUNKS = (13, 45, 128)


def main() -> None:
    """Print a line for each number of rows and of tokens."""
    options = round_options(__doc__, rounds=25)
    session = OnnxSession(
        read_model_folder(models.served_folder()),
        ProviderChoice.CPU,
        num_threads=num_processors(),
        num_slots=NUM_SLOTS,
        max_length=MAX_CONTEXT_TOKENS,
        reads_beside=True,
    )
    token_ids = np.random.default_rng(0).integers(0, 40_000, NUM_PAST + max(CHUNKS))
    for slot in range(NUM_SLOTS):
        session.prefill(slot, token_ids[:NUM_PAST], 0, num_logits=0)
    for num_rows, num_tokens in product(ROWS, CHUNKS):
        passes = passes_of(session, token_ids[:num_rows], token_ids[-num_tokens:])
        alone, read, together = durations_s(passes, options.rounds)
        apart = [one + other for one, other in zip(alone, read, strict=True)]
        shown = [f"{1000 * spread(each).median:.1f}" for each in (alone, read, together)]
        print(
            f"{num_rows:2} rows, {num_tokens:3} tokens: decode {shown[0]}, chunk {shown[1]}, "
            f"together {shown[2]} ms, of both apart {paired_ratio(together, apart).shown(2)}"
        )


def passes_of(session: OnnxSession, newest: TokenIds, chunk_ids: TokenIds) -> list[Callable[[], object]]:
    """Return a decode step, a chunk in the last slot, and both together."""
    lengths = np.full(len(newest), NUM_PAST)
    slot = NUM_SLOTS - 1
    return [
        lambda: session.decode(newest, lengths),
        lambda: session.prefill(slot, chunk_ids, NUM_PAST),
        lambda: session.decode_beside(
            newest, lengths, slot=slot, chunk_ids=chunk_ids, num_past=NUM_PAST, num_logits=1
        ),
    ]


def durations_s(runs: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return how long each took, by turns, after one that does not count."""
    taken: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, times in zip(runs, taken, strict=True):
            began_s = time.perf_counter()
            run()
            if number > 0:
                times.append(time.perf_counter() - began_s)
    return taken


if __name__ == "__main__":
    main()
