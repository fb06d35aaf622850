"""Ten times as many requests as can be answered: what becomes of those let in, of the others, and afterwards.

The sustainable rate is that of a closed loop with as many callers as there are slots. Then requests arrive at
0.8 times that rate, at ten times for a minute, and at 0.8 times again, five seconds after the last of those.

Usage: python -m bench.overload [--waiting 8] [--seconds 60] [--quick]
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

from bench.figures import verdict
from bench.load import REFUSALS, Load, LoadFigures
from bench.targets import Server, service, started

NUM_SLOTS = 16
USUAL_SHARE = 0.8
OVERLOAD = 10.0
RECOVERY_S = 5.0
LATENCY_BAR = 2.0
REFUSAL_BAR_S = 0.05
MEMORY_BAR = 1.05
RECOVERED_BAR = 1.2


def arriving(rate: float, duration_s: float, seed: str) -> Load:
    """Return a load of so many requests a second."""
    return Load("short", max(2, round(rate * duration_s)), rate=rate, seed=seed)


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=8, help="LLM_MAX_WAITING_REQUESTS")
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument("--quick", action="store_true", help="short loads, to see that it works")
    options = parser.parse_args()
    duration_s = 8.0 if options.quick else options.seconds
    ours = service("ours", LLM_MAX_WAITING_REQUESTS=str(options.waiting))
    with started(ours), ThreadPoolExecutor(1) as later:
        closed = ours.run(Load("short", 6 * NUM_SLOTS, NUM_SLOTS, seed="closed"))[0]
        sustainable = closed.num_requests / closed.duration_s
        print(f"sustainable: {sustainable:.2f} answers/s, {closed.tokens_per_s:.0f} tokens/s")
        usual = ours.run(arriving(USUAL_SHARE * sustainable, duration_s, "usual"))[0]
        show("0.8x", usual)
        before = ours.running.memory_bytes
        recovering = later.submit(recovered, ours, USUAL_SHARE * sustainable, duration_s)
        overload = ours.run(arriving(OVERLOAD * sustainable, duration_s, "overload"))[0]
        show("10x", overload)
        after = ours.running.memory_bytes
        again = recovering.result()
        show("0.8x again", again)
    others = {error: number for error, number in overload.errors.items() if error not in REFUSALS}
    ratio = overload.latency_p99_s / usual.latency_p99_s
    print(
        f"arrivals {overload.arrivals_per_s / sustainable:.1f}x the sustainable rate; "
        f"other errors: {others or 0}"
    )
    print(f"p99 of those let in {verdict(ratio, LATENCY_BAR, at_most=True)} of 0.8x's")
    print(f"p99 of refusals {verdict(overload.refused_p99_s * 1000, REFUSAL_BAR_S * 1000, at_most=True)} ms")
    print(f"memory {verdict(after / before, MEMORY_BAR, at_most=True)}")
    ratio = again.latency_p99_s / usual.latency_p99_s
    print(f"p99 {RECOVERY_S:.0f} s later {verdict(ratio, RECOVERED_BAR, at_most=True)} of before")


def recovered(server: Server, rate: float, duration_s: float) -> LoadFigures:
    """Wait until the overload is over for a while, and put the usual load on."""
    time.sleep(duration_s + RECOVERY_S)
    return server.run(arriving(rate, duration_s / 2, "again"))[0]


def show(name: str, figures: LoadFigures) -> None:
    """Print what came of a load."""
    num_answered = figures.num_requests - figures.num_errors
    print(
        f"{name:10} {figures.arrivals_per_s:6.1f} arrivals/s; {num_answered} answered, "
        f"p50 {figures.latency_p50_s:.2f} s, p99 {figures.latency_p99_s:.2f} s; "
        f"{figures.num_errors} refused, p99 {figures.refused_p99_s * 1000:.0f} ms; "
        f"the generator takes {figures.client_cpu_share:.2f} of a processor",
        flush=True,
    )


if __name__ == "__main__":
    main()
