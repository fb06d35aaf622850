"""Prometheus metrics, under the names that vLLM gave them where it has them.

With several processes each writes its own files into ``PROMETHEUS_MULTIPROC_DIR``, which the launcher makes,
and any of them tells the sum of all (prometheus-client's multiprocess mode, chosen when it is imported).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from domain.jobs import Job, JobState
from domain.telemetry import GenerationFigures

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""A caller may make up others, each of which would be a series."""

GAP_BUCKETS_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
WAIT_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10, 30, 60)
REQUEST_BUCKETS_S = (0.005, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10, 15, 20, 30, 60, 120, 300)
TOKEN_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, slots=True)
class _OfModel:
    """One model's series, so that no label is looked up a token."""

    first_token: Histogram
    gap: Histogram
    token_time: Histogram
    latency: Histogram
    prompt_tokens: Histogram
    answer_tokens: Histogram
    prompt_total: Counter
    answer_total: Counter


class Metrics:
    """The service's series: ``GenerationObserver``, ``ProofObserver`` and ``JobObserver``.

    Args:
        prefix: before each name, with a colon: ``llm``, or ``vllm`` for dashboards that were made for it.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, prefix: str) -> None:
        self._registry = CollectorRegistry()
        self._prefix = prefix
        self._models: dict[str, _OfModel] = {}
        self._routes: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        model, routes = ("model_name",), ("method", "route", "status")
        self._first_token = self._histogram(
            "time_to_first_token_seconds", "From the request to the first token", model, WAIT_BUCKETS_S
        )
        self._gap = self._histogram(
            "inter_token_latency_seconds", "Between tokens of an answer", model, GAP_BUCKETS_S
        )
        self._token_time = self._histogram(
            "request_time_per_output_token_seconds", "Mean gap of an answer's tokens", model, GAP_BUCKETS_S
        )
        self._latency = self._histogram(
            "e2e_request_latency_seconds", "From the request to the last token", model, REQUEST_BUCKETS_S
        )
        self._prompt_tokens = self._histogram(
            "request_prompt_tokens", "Tokens of prompts", model, TOKEN_BUCKETS
        )
        self._answer_tokens = self._histogram(
            "request_generation_tokens", "Tokens of answers", model, TOKEN_BUCKETS
        )
        self._prompt_total = self._counter("prompt_tokens", "Tokens read", model)
        self._answer_total = self._counter("generation_tokens", "Tokens written", model)
        self._ended = self._counter(
            "request_success", "Generations that are over", (*model, "finished_reason")
        )
        self._requests = self._counter("http_requests", "HTTP requests that are over", routes)
        self._request_time = self._histogram(
            "http_request_duration_seconds",
            "From the request to the response's end",
            ("route",),
            REQUEST_BUCKETS_S,
        )
        self._jobs = self._counter("jobs", "Attempts at jobs that are over", ("workflow", "state"))
        self._job_time = self._histogram(
            "job_duration_seconds", "Of an attempt at a job", ("workflow",), REQUEST_BUCKETS_S
        )
        circuit = ("circuit_id",)
        self._proofs = self._counter("proofs", "Proofs that are over", (*circuit, "result"))
        self._proof_time = self._histogram(
            "proof_duration_seconds", "Of a proof, waiting included", circuit, REQUEST_BUCKETS_S
        )
        self._proofs_running = self._gauge("num_proofs_running", "Proofs under way or waiting", circuit)

    def of_engine(self, model_id: str, num_kv_tokens: int) -> "EngineMetrics":
        """Return the engine's own series, for the model and the tokens that its KV cache holds."""
        return EngineMetrics(self, model_id, num_kv_tokens)

    def exposition(self) -> bytes:
        """Return all series as Prometheus' text."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def tokens_followed(self, model_id: str, gaps_s: Sequence[float]) -> None:
        """Note the times between tokens."""
        observe = self._of(model_id).gap.observe
        for gap_s in gaps_s:
            observe(gap_s)

    def generation_ended(self, model_id: str, figures: GenerationFigures) -> None:
        """Note a generation."""
        series = self._of(model_id)
        usage, first_s = figures.usage, figures.time_to_first_token_s
        self._ended.labels(model_id, figures.outcome.value).inc()
        series.latency.observe(figures.duration_s)
        if first_s is not None:
            series.first_token.observe(first_s)
        if usage.num_completion_tokens > 0:
            series.prompt_tokens.observe(usage.num_prompt_tokens)
            series.answer_tokens.observe(usage.num_completion_tokens)
            series.prompt_total.inc(usage.num_prompt_tokens)
            series.answer_total.inc(usage.num_completion_tokens)
        if first_s is not None and usage.num_completion_tokens > 1:
            series.token_time.observe((figures.duration_s - first_s) / (usage.num_completion_tokens - 1))

    def proof_began(self, circuit_id: str) -> None:
        """Note a proof under way."""
        self._proofs_running.labels(circuit_id).inc()

    def proof_ended(self, circuit_id: str, duration_s: float, error: BaseException | None) -> None:
        """Note a proof that is over."""
        self._proofs_running.labels(circuit_id).dec()
        self._proofs.labels(circuit_id, "proved" if error is None else type(error).__name__).inc()
        self._proof_time.labels(circuit_id).observe(duration_s)

    def job_ended(self, job: Job, state: JobState, duration_s: float, error: BaseException | None) -> None:
        """Note an attempt at a job."""
        del error  # the state says enough
        self._jobs.labels(job.workflow, state.value).inc()
        self._job_time.labels(job.workflow).observe(duration_s)

    def request_ended(self, method: str, route: str, status: int, duration_s: float) -> None:
        """Note an HTTP request; ``route`` is a template, so that there are few of them."""
        key = (method if method in METHODS else "other", route, status)
        series = self._routes.get(key)
        if series is None:
            series = self._routes[key] = self._requests.labels(*key), self._request_time.labels(route)
        count, time = series
        count.inc()
        time.observe(duration_s)

    def histogram(
        self, name: str, text: str, labels: Mapping[str, str], buckets: tuple[float, ...]
    ) -> Histogram:
        """Add a histogram of one series."""
        return self._histogram(name, text, tuple(labels), buckets).labels(**labels)

    def counter(self, name: str, text: str, labels: Mapping[str, str]) -> Counter:
        """Add a counter of one series."""
        return self._counter(name, text, tuple(labels)).labels(**labels)

    def gauge(self, name: str, text: str, labels: Mapping[str, str]) -> Gauge:
        """Add a gauge of one series, summed over the processes."""
        return self._gauge(name, text, tuple(labels)).labels(**labels)

    def _of(self, model_id: str) -> _OfModel:
        series = self._models.get(model_id)
        if series is None:
            series = self._models[model_id] = _OfModel(
                self._first_token.labels(model_id),
                self._gap.labels(model_id),
                self._token_time.labels(model_id),
                self._latency.labels(model_id),
                self._prompt_tokens.labels(model_id),
                self._answer_tokens.labels(model_id),
                self._prompt_total.labels(model_id),
                self._answer_total.labels(model_id),
            )
        return series

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(self._named(name), text, labels, buckets=buckets, registry=self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(self._named(name), text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(self._named(name), text, labels, registry=self._registry, multiprocess_mode="livesum")

    def _named(self, name: str) -> str:
        return f"{self._prefix}:{name}"


class EngineMetrics:
    """What the engine tells: ``EngineObserver``."""

    def __init__(self, metrics: Metrics, model_id: str, num_kv_tokens: int) -> None:
        of_model = {"model_name": model_id}
        self._num_kv_tokens = num_kv_tokens
        self._running = metrics.gauge("num_requests_running", "Requests that hold a slot", of_model)
        self._waiting = metrics.gauge("num_requests_waiting", "Requests that wait for a slot", of_model)
        self._kv_usage = metrics.gauge(
            "kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1", of_model
        )
        self._queries = metrics.counter(
            "prefix_cache_queries", "Tokens looked up in the prefix cache", of_model
        )
        self._hits = metrics.counter("prefix_cache_hits", "Tokens found there", of_model)
        self._queue = metrics.histogram(
            "request_queue_time_seconds", "Waiting for a slot", of_model, REQUEST_BUCKETS_S
        )
        self._prefill = metrics.histogram(
            "request_prefill_time_seconds", "From the slot to the first token", of_model, REQUEST_BUCKETS_S
        )
        self._decode = metrics.histogram(
            "request_decode_time_seconds", "From the first token to the last", of_model, REQUEST_BUCKETS_S
        )
        self._inference = metrics.histogram(
            "request_inference_time_seconds", "From the slot to the last token", of_model, REQUEST_BUCKETS_S
        )

    def ran(self, num_running: int, num_waiting: int, num_cached_tokens: int) -> None:
        """Note what holds slots, and waits."""
        self._running.set(num_running)
        self._waiting.set(num_waiting)
        self._kv_usage.set(num_cached_tokens / self._num_kv_tokens)

    def prefix_looked_up(self, num_tokens: int, num_reused: int) -> None:
        """Note a look-up in the prefix cache."""
        self._queries.inc(num_tokens)
        self._hits.inc(num_reused)

    def answered(self, queue_s: float, prefill_s: float, decode_s: float) -> None:
        """Note the times of an answer."""
        self._queue.observe(queue_s)
        self._prefill.observe(prefill_s)
        self._decode.observe(decode_s)
        self._inference.observe(prefill_s + decode_s)
