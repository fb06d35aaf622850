"""What the service adds to a request: a workflow that does nothing beside a bare Starlette echo.

Both on the same Hypercorn with the same settings of it, one caller on a connection that stays open, by turns;
the service logs each request, and the requests carry no Idempotency-Key.

Usage: python -m bench.overhead [--rounds 8] [--requests 500]
"""

import sys
import time

import httpx2
from bench.figures import paired_ratio, percentile, spread, verdict
from bench.options import round_options
from bench.targets import Server, awake, service, started

BAR = 1.2
NUM_WARM_UP = 100
PAYLOAD = {
    "source": 1,
    "data": {"key": "1", "messageId": "1", "text": "Name three colours.", "history": []},
}


def main() -> None:
    """Print the medians and their ratio."""
    options = round_options(__doc__, rounds=8, requests=500)
    num_requests = 50 if options.quick else options.requests
    ours = service(LLM_BACKEND="scripted", FLASK_LLM_WORKFLOW_CLASS="bench.no_op_workflow.NoOpWorkflow")

    def bare_command(port: int) -> list[str]:
        config = ("--config", "python:entrypoints.hypercorn_defaults")
        return [
            *(sys.executable, "-m", "hypercorn", *config, f"--bind=127.0.0.1:{port}", "bench.echo_app:app"),
        ]

    bare = Server("bare echo", bare_command, environment=dict(ours.environment))
    with started(ours), started(bare):
        ours.pause()
        bare.pause()
        p50_s: dict[str, list[float]] = {ours.name: [], bare.name: []}
        for _ in range(options.rounds):
            for server in (ours, bare):
                with awake(server):
                    p50_s[server.name].append(percentile(request_times_s(server.url, num_requests), 0.5))
    ratio = paired_ratio(p50_s[ours.name], p50_s[bare.name])
    for name, values in p50_s.items():
        print(f"{name:10} p50 {spread([value * 1000 for value in values]).shown(3)} ms")
    print(f"ratio {ratio.shown(2)} {verdict(ratio.median, BAR, at_most=True)}")


def request_times_s(url: str, num_requests: int) -> list[float]:
    """Return how long each request took, one after another."""
    times_s = []
    with httpx2.Client(base_url=url) as client:
        for number in range(NUM_WARM_UP + num_requests):
            began_s = time.perf_counter()
            response = client.post("/service_output", json=PAYLOAD)
            if number >= NUM_WARM_UP:
                times_s.append(time.perf_counter() - began_s)
            response.raise_for_status()
    return times_s


if __name__ == "__main__":
    main()
