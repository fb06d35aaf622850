"""What HTTP and scheduling cost: the service's throughput beside the bare loop's, at 8 and 16 callers.

Usage: python -m bench.engine_loop [--rounds 4] [--requests 4] [--quick]
"""

import json
import subprocess
import sys
from dataclasses import asdict

from bench import models
from bench.figures import paired_ratio, spread, verdict
from bench.load import Load
from bench.options import round_options
from bench.targets import awake, service, started

BAR = 0.9
PROMPT_SETS = ("short", "mixed")


def main() -> None:
    """Print both and their ratio."""
    options = round_options(__doc__)
    folder = str(models.served_folder())
    # no reuse and no guessing: both would be work that the bare loop does not save
    server = service(LLM_PREFIX_CACHE_MIB="0", LLM_LOOKUP_TOKENS="0")
    with started(server):
        server.run(Load("short", 2, num_callers=1, seed="warm-up", max_tokens=8))
        server.pause()
        for prompt_set in PROMPT_SETS:
            for num_callers in (8, 16):
                ours, bare, client = [], [], []
                for number in range(options.rounds):
                    load = Load(
                        prompt_set,
                        num_callers * options.requests,
                        num_callers=num_callers,
                        seed=str(number),
                    )
                    with awake(server):
                        figures = server.run(load)[0]
                    ours.append(figures.tokens_per_s)
                    client.append(figures.client_cpu_share)
                    bare.append(bare_tokens_per_s(folder, load))
                ratio = paired_ratio(ours, bare)
                print(
                    f"{prompt_set:6} {num_callers:2} callers: service {spread(ours).shown()} tok/s, bare "
                    f"loop {spread(bare).shown()}, ratio {ratio.shown(2)} {verdict(ratio.median, BAR)}, "
                    f"load generator {spread(client).median:.1%} of a processor",
                    flush=True,
                )


def bare_tokens_per_s(folder: str, load: Load) -> float:
    """Run the bare loop in a process of its own."""
    command = [sys.executable, "-m", "bench.bare_loop", folder, str(load.num_callers)]
    output = subprocess.run(
        command, input=json.dumps(asdict(load)), check=True, stdout=subprocess.PIPE, text=True, timeout=600
    ).stdout
    return float(json.loads(output)["tokens_per_s"])


if __name__ == "__main__":
    main()
