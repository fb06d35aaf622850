"""Time from starting the process to ``/health/ready`` = 200, with the default model already built.

Hypercorn's parent and worker are in it; the first run, which warms the page cache, is not counted.

Usage: python -m bench.start
"""

import os
import statistics
import subprocess
import sys
import time

import httpx2
from bench.server_process import free_port

RUNS = 5
COMMAND = (sys.executable, "-m", "entrypoints.cli", "serve")


def main() -> None:
    """Print the times and their median."""
    times_s = [start_s() for _ in range(RUNS + 1)][1:]
    shown = " ".join(f"{value:.2f}" for value in times_s)
    print(f"start to ready: median {statistics.median(times_s):.2f} s of {RUNS} ({shown})")


def start_s() -> float:
    """Start the service, wait until it is ready, stop it; returns the seconds."""
    port = free_port()
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, f"--bind=127.0.0.1:{port}"],
        env={**os.environ, "LLM_LOG_LEVEL": "error"},
        stderr=subprocess.DEVNULL,
    )
    try:
        while not is_ready(port):
            if process.poll() is not None:
                raise SystemExit("the service ended before it was ready")
            time.sleep(0.005)
        return time.perf_counter() - began_s
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    """Tell whether the service answers that it is ready."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


if __name__ == "__main__":
    main()
