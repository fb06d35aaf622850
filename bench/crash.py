"""Kills the service at random moments during mixed requests, and counts what was lost or done twice.

Usage: python -m bench.crash [--kills 50] [--requests 200] [--seed 0]
"""

import argparse
import tempfile
from pathlib import Path

from tests.crash import VECTOR_SIZE, CrashRun
from tests.heads import write_head
from tests.proving import built_circuit


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_head(folder / "head.onnx", (VECTOR_SIZE, 3))
        circuit = built_circuit(folder / "head.onnx", folder / "circuit")
        figures = CrashRun(folder, circuit, options.seed).run(options.kills, options.requests)
    for name, value in vars(figures).items():
        print(f"{name.removeprefix('num_').replace('_', ' '):32} {value}")
    raise SystemExit(1 if figures.problems else 0)


if __name__ == "__main__":
    main()
