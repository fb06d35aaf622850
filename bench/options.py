"""The options that the measurements share."""

import argparse


def round_options(description: str | None, *, rounds: int = 4, requests: int = 4) -> argparse.Namespace:
    """Read ``--rounds``, ``--requests`` (of a caller in a round) and ``--quick`` (one of each)."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--requests", type=int, default=requests, help="of each caller, in a round")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.rounds = options.requests = 1
    return options
