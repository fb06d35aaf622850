"""``/metrics``: what it counts is what was asked and answered, whichever worker tells, and after a crash."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.telemetry.metrics import Metrics
from tests.service_process import ServiceProcess, service

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "llm-inference-service.json"
TOKENS = '[{"token": "correct-horse", "scopes": ["infer", "admin"]}]'
SERIES = {
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_time_per_output_token_seconds",
    "request_queue_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_inference_time_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "prompt_tokens",
    "generation_tokens",
    "request_success",
    "http_requests",
    "http_request_duration_seconds",
}
"""Those that show up once something was asked."""


@pytest.fixture(scope="module")
def running(tiny_folder: Path) -> Iterator[ServiceProcess]:
    with service("--workers=2", LLM_MODEL=str(tiny_folder)) as started_service:
        yield started_service


def scrape(running: ServiceProcess, prefix: str = "llm:") -> dict[str, float]:
    """Return each sample by its name with its labels; asks over a connection of its own."""
    response = httpx2.get(f"{running.url}/metrics", timeout=10)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for family in text_string_to_metric_families(response.text):
        assert family.name.startswith(prefix)
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "model_name")
            samples[f"{sample.name.removeprefix(prefix)}{{{labels}}}"] = sample.value
    return samples


def ask(running: ServiceProcess, **parameters: Any) -> dict[str, int]:
    """Ask once; returns the tokens that the reply tells of."""
    response = running.post(
        {"key": "1", "messageId": "2", "text": "hi", "history": [], "parameters": parameters}
    )
    assert response.status_code == 200
    return {name: int(response.headers[f"x-{name}-tokens"]) for name in ("prompt", "completion")}


def test_counts_are_those_of_the_replies_whichever_worker_is_asked(running: ServiceProcess) -> None:
    before = scrape(running)
    used = [ask(running, max_tokens=n, ignore_eos=True) for n in range(1, 13)]
    httpx2.request("BREW", f"{running.url}/health", timeout=10)

    scrapes = [scrape(running) for _ in range(6)]

    for after in scrapes:

        def grown(name: str, after: dict[str, float] = after) -> float:
            return after[name] - before.get(name, 0)

        assert grown("prompt_tokens_total{}") == sum(each["prompt"] for each in used)
        assert grown("generation_tokens_total{}") == sum(each["completion"] for each in used) == 78
        assert grown("request_success_total{finished_reason=length}") == 12
        assert grown("http_requests_total{method=POST,route=/service_output,status=200}") == 12
        assert grown("http_requests_total{method=other,route=/health,status=405}") == 1
        for histogram in (
            "time_to_first_token_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
        ):
            assert grown(f"{histogram}_count{{}}") == grown(f"{histogram}_bucket{{le=+Inf}}") == 12
        assert grown("request_generation_tokens_sum{}") == 78
        assert grown("prefix_cache_queries_total{}") == sum(each["prompt"] for each in used)
        assert after["num_requests_running{}"] == after["num_requests_waiting{}"] == 0
        assert after["kv_cache_usage_perc{}"] == 0
    names = {re.sub(r"(_total|_bucket|_sum|_count)?\{.*", "", name) for name in scrapes[-1]}
    assert names >= SERIES


def test_the_dashboard_reads_series_that_there_are(running: ServiceProcess) -> None:
    ask(running, max_tokens=2)
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    read = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"llm:(\w+)", target["expr"])
    }
    declared = httpx2.get(f"{running.url}/metrics", timeout=10).text

    assert len(board["panels"]) == 12
    missing = {name for name in read if not re.search(rf"^llm:{name}[{{ ]", declared, re.MULTILINE)}
    # nobody asked for a job or a proof
    assert missing <= {"jobs_total", "proof_duration_seconds_bucket", "num_proofs_running"}
    metrics = Metrics("llm")
    metrics.proof_began("c")
    metrics.proof_ended("c", 1.0, None)
    assert all(f"llm:{name}" in metrics.exposition().decode() for name in missing - {"jobs_total"})


def test_those_who_run_count_while_they_do_and_an_engine_that_died_runs_nothing(
    running: ServiceProcess,
) -> None:
    ask(running, max_tokens=1)
    is_over = threading.Event()

    def keep_asking() -> None:
        data = {"key": "1", "messageId": "2", "text": "hi", "history": []}
        while not is_over.is_set():
            running.post({**data, "parameters": {"max_tokens": 4000, "ignore_eos": True}})

    callers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        busy = until(running, lambda samples: samples.get("num_requests_running{}", 0) >= 1)
        assert busy["kv_cache_usage_perc{}"] > 0
        engine_pid = running.engine_pid
        assert engine_pid is not None
        os.kill(engine_pid, signal.SIGKILL)
    finally:
        is_over.set()
        for caller in callers:
            caller.join()

    running.wait_until_ready()
    quiet = until(running, lambda samples: samples.get("num_requests_running{}", 0) == 0)
    assert quiet["prompt_tokens_total{}"] >= busy["prompt_tokens_total{}"] > 0


def until(running: ServiceProcess, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """Return the first samples for which something holds."""
    deadline_s = time.monotonic() + 30
    while not condition(samples := scrape(running)):
        assert time.monotonic() < deadline_s, samples
    return samples


def test_the_names_can_be_those_of_vllm_and_a_token_is_asked_for() -> None:
    with service(LLM_BACKEND="scripted", LLM_METRICS_PREFIX="vllm", LLM_AUTH_TOKENS=TOKENS) as running:
        assert httpx2.get(f"{running.url}/metrics", timeout=10).status_code == 401
        headers = {"authorization": "Bearer correct-horse"}
        response = running.post({"key": "1", "messageId": "2", "text": "hi", "history": []}, headers=headers)
        assert response.status_code == 200
        text = httpx2.get(f"{running.url}/metrics", headers=headers, timeout=10).text

    assert re.search(
        r'^vllm:request_success_total\{finished_reason="stop",model_name="[^"]+"\} 1\.0$', text, re.MULTILINE
    )
