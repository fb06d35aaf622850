"""What more workers cost in memory, and that they cost no throughput.

Usage: python -m bench.workers [--rounds 4] [--requests 4] [--quick]
"""

from bench.figures import paired_ratio, spread, verdict
from bench.load import Load
from bench.options import round_options
from bench.targets import awake, service, started

MEMORY_BAR_MIB = 80.0
RATE_BAR = 1.0
NUM_CALLERS = 16


def main() -> None:
    """Print the memory of each number of workers, and the throughput of one and of four."""
    options = round_options(__doc__)
    servers = {number: service(f"{number} workers", f"--workers={number}") for number in (1, 2, 4)}
    rates: dict[int, list[float]] = {number: [] for number in servers}
    with started(servers[1]), started(servers[2]), started(servers[4]):
        for server in servers.values():
            # slots that were never used, and an empty cache, would make less of the first
            server.run(Load("long", NUM_CALLERS * options.requests, num_callers=NUM_CALLERS, seed="filling"))
            server.pause()
        for round_number in range(options.rounds):
            for number in sorted(servers, reverse=round_number % 2 == 0):
                with awake(servers[number]):
                    load = Load(
                        "mixed",
                        NUM_CALLERS * options.requests,
                        num_callers=NUM_CALLERS,
                        seed=str(round_number),
                    )
                    rates[number].append(servers[number].run(load)[0].tokens_per_s)
        mib = {number: (server.memory_bytes or 0) / 2**20 for number, server in servers.items()}
    shown = ", ".join(f"{number} workers {size:.0f} MiB" for number, size in mib.items())
    per_worker = max((mib[4] - mib[1]) / 3, (mib[4] - mib[2]) / 2)
    print(
        f"memory (PSS): {shown}; each beyond the first or the second, whichever is more, "
        f"{verdict(per_worker, MEMORY_BAR_MIB, at_most=True)}"
    )
    ratio = paired_ratio(rates[4], rates[1])
    print(
        f"throughput, {NUM_CALLERS} callers: 4 workers {spread(rates[4]).shown()} tok/s, 1 worker "
        f"{spread(rates[1]).shown()}, ratio {ratio.shown(2)} {verdict(ratio.median, RATE_BAR)}"
    )


if __name__ == "__main__":
    main()
