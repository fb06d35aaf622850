"""Stops the service under load, again and again, and counts what was lost.

Usage: python -m bench.drain [--times 50] [--seed 0] [--workers 2]
"""

import argparse

from tests.drain import GRACE_S, stop_under_load


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    fates: dict[str, int] = {}
    problems: list[str] = []
    longest_s, num_under_way = 0.0, 0
    for seed in range(options.seed, options.seed + options.times):
        figures = stop_under_load(seed, num_workers=options.workers)
        for fate, number in figures.fates.items():
            fates[fate] = fates.get(fate, 0) + number
        longest_s = max(longest_s, figures.stop_s)
        num_under_way += figures.num_under_way
        problems += figures.problems
        for problem in figures.problems:
            print(problem, flush=True)
    print(f"{options.times} stops, {num_under_way} requests under way; {fates}")
    print(f"longest stop {longest_s:.1f} s of {GRACE_S:g} s; {len(problems)} problems")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
