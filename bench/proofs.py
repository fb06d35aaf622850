"""What the service adds to EZKL: overhead of a proof, throughput of eight, latency of others meanwhile.

EZKL is called directly on the same artefacts, on the same cores, in the same run.

Usage: python -m bench.proofs
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from adapters.ezkl_proof.circuit_builder import build_circuit
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility
from adapters.ezkl_proof.worker_process import WorkerProcess
from adapters.onnx.builder import TqdmReporter
from adapters.processors import num_processors
from tests.heads import write_head
from tests.service_process import ServiceProcess, service

NUM_INPUTS = 16
VECTOR = [0.25 * i - 2 for i in range(NUM_INPUTS)]
NUM_ALONE = 15
NUM_AT_ONCE = 8
ROUNDS = 3
CHAT = {"key": "1", "messageId": "1", "text": "Name three colours.", "history": []}
NUM_CHATS = 30
NUM_PINGS = 500
WORKFLOWS = {"prove": "domain.workflows.vector_decision.VectorDecisionWorkflow"}


def main() -> None:
    """Print the figures."""
    num_cores = num_processors()
    with tempfile.TemporaryDirectory() as name:
        circuit = Path(name) / "circuit"
        write_head(Path(name) / "head.onnx", (NUM_INPUTS, 16, 3))
        parameters = CircuitParameters(11, 128, 4, 7, 2)
        build_circuit(Path(name) / "head.onnx", circuit, parameters, InputVisibility.HASHED, TqdmReporter())
        with serving(circuit, LLM_BACKEND="scripted") as running:
            overhead(running, circuit, num_cores)
            throughput(running, circuit, num_cores)
        with serving(circuit) as running:
            latency(running)


@contextmanager
def serving(circuit: Path, **settings: Any) -> Iterator[ServiceProcess]:
    """Serve with the default split, chat at the default path."""
    with service(LLM_CIRCUIT=str(circuit), LLM_WORKFLOWS=json.dumps(WORKFLOWS), **settings) as running:
        yield running


def prove(running: ServiceProcess) -> None:
    """Ask the service for a proof."""
    payload = {"source": 1, "requires_proof": True, "data": {"inputs": VECTOR}}
    url = f"{running.url}/workflows/prove/service_output"
    httpx2.post(url, json=payload, timeout=120).raise_for_status()


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    started_s = time.monotonic()
    call()
    return time.monotonic() - started_s


@contextmanager
def ezkl_processes(circuit: Path, num_workers: int, num_threads: int) -> Iterator[list[WorkerProcess]]:
    """Start processes that call EZKL and nothing else."""
    workers = [WorkerProcess(circuit, num_threads, 0) for _ in range(num_workers)]
    for worker in workers:
        worker.start()
        worker.prove(VECTOR, 120)
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def overhead(running: ServiceProcess, circuit: Path, num_cores: int) -> None:
    """Requests one by one, each beside a direct call: what the steps take by EZKL's own process's clock."""
    prove(running)
    served, direct = [], []
    with ezkl_processes(circuit, 1, num_cores) as (worker,):
        for _ in range(NUM_ALONE):
            answer = worker.prove(VECTOR, 120)
            direct.append(answer.witness_s + answer.prove_s + answer.verify_s)
            served.append(timed(lambda: prove(running)))
    ours, theirs = statistics.median(served), statistics.median(direct)
    allowed = 0.05 * theirs + 0.020
    print(
        f"overhead: request {ours * 1000:.0f} ms, EZKL's steps {theirs * 1000:.0f} ms, "
        f"difference {(ours - theirs) * 1000:.0f} ms (bar {allowed * 1000:.0f} ms; medians of {NUM_ALONE})"
    )


def throughput(running: ServiceProcess, circuit: Path, num_cores: int) -> None:
    """Eight proofs at once, by the service and by each split of the cores directly, interleaved."""
    splits = sorted({(1, num_cores), (num_cores, 1), (2, max(1, num_cores // 2)), (2, num_cores)})
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for num_workers, num_threads in splits:
            with ezkl_processes(circuit, num_workers, num_threads) as workers:
                seconds = timed(lambda workers=workers: shared(workers))  # type: ignore[misc]
            name = f"{num_workers} processes x {num_threads} threads"
            rates.setdefault(name, []).append(NUM_AT_ONCE / seconds)
        with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
            seconds = timed(lambda: list(pool.map(prove, [running] * NUM_AT_ONCE)))
        rates.setdefault("the service", []).append(NUM_AT_ONCE / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"throughput: {name:26} {rate:.2f} proofs/s")
    ours = medians.pop("the service")
    print(f"throughput: {ours / max(medians.values()):.2f}x of the best split (bar 0.95x)")


def shared(workers: list[WorkerProcess]) -> None:
    """Let the processes take eight proofs from one line."""
    left = iter(range(NUM_AT_ONCE))
    lock = threading.Lock()

    def serve(worker: WorkerProcess) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            worker.prove(VECTOR, 120)

    with ThreadPoolExecutor(len(workers)) as pool:
        list(pool.map(serve, workers))


def latency(running: ServiceProcess) -> None:
    """Chat and health, alone and while eight callers ask for proofs without a pause."""
    alone = chats(running)
    done = threading.Event()

    def keep_proving() -> None:
        while not done.is_set():
            prove(running)

    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        callers = [pool.submit(keep_proving) for _ in range(NUM_AT_ONCE)]
        try:
            meanwhile = chats(running)
            with httpx2.Client() as client:
                pings = [timed(lambda: client.get(f"{running.url}/health")) for _ in range(NUM_PINGS)]
        finally:
            done.set()
        for caller in callers:
            caller.result()
    p99 = statistics.quantiles(pings, n=100)[98]
    print(f"latency: /health while proofs run, p99 {p99 * 1000:.1f} ms (bar 50 ms)")
    print(
        f"latency: chat p95 alone {alone * 1000:.0f} ms, while proofs run {meanwhile * 1000:.0f} ms: "
        f"{meanwhile / alone:.2f}x (bar 3x)"
    )


def chats(running: ServiceProcess) -> float:
    """Return the 95th percentile of some answers of 24 tokens, in seconds."""
    data = {**CHAT, "parameters": {"max_tokens": 24}}
    times_s = [timed(lambda: running.post(data).raise_for_status()) for _ in range(NUM_CHATS)]
    return statistics.quantiles(times_s, n=20)[18]


if __name__ == "__main__":
    main()
