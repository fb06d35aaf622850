"""Traces as a collector receives them: the steps of a request, whichever processes do them."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.heads import write_head
from tests.otlp_receiver import Collector, ReceivedSpan, otlp_receiver
from tests.proving import built_circuit
from tests.service_process import ServiceProcess, service

SECRET = "the-owl-flies-at-midnight"
TOKEN = "correct-horse-battery"
VECTOR = [0.25 * i - 2 for i in range(16)]
DATA: dict[str, Any] = {
    "key": "1",
    "messageId": "2",
    "text": SECRET,
    "history": [],
    "parameters": {"max_tokens": 4, "ignore_eos": True, "stop": [SECRET]},
}
CLOCK_NS = 1_000_000
"""Times of the engine's clock are turned into those of the day one by one."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with otlp_receiver() as receiving:
        yield receiving


@pytest.fixture(params=["one worker", "two workers"], scope="module")
def running(request: Any, collector: Collector, tiny_folder: Path) -> Iterator[ServiceProcess]:
    workers = ["--workers=2"] if request.param == "two workers" else []
    with service(*workers, LLM_MODEL=str(tiny_folder), LLM_AUTH_TOKENS=TOKEN, **to(collector)) as started:
        yield started


def to(collector: Collector) -> dict[str, Any]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def asked_within_a_trace(running: ServiceProcess, data: dict[str, Any], **options: Any) -> tuple[str, str]:
    """Ask as a caller who traces too; returns the ids of its trace and its span."""
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    headers = {"authorization": f"Bearer {TOKEN}", "traceparent": f"00-{trace_id}-{span_id}-01"}
    response = running.post(data, headers={**headers, **options.pop("headers", {})}, **options)
    assert response.status_code == 200
    return trace_id, span_id


def by_name(spans: list[ReceivedSpan]) -> dict[str, ReceivedSpan]:
    named = {span.name: span for span in spans}
    assert len(named) == len(spans), [span.name for span in spans]
    return named


def path_to(span: ReceivedSpan, spans: list[ReceivedSpan]) -> list[str]:
    """Return the names from the outermost span to one."""
    parents = {parent.span_id: parent for parent in spans}
    parent = parents.get(span.parent_id)
    return [*(path_to(parent, spans) if parent is not None else []), span.name]


def test_a_request_is_a_trace_from_the_caller_down_to_the_decoding(
    running: ServiceProcess, collector: Collector
) -> None:
    trace_id, caller_id = asked_within_a_trace(running, DATA, headers={"x-request-id": "mine-1"})

    spans = collector.trace(trace_id, 9)
    named = by_name(spans)
    request = named["POST /service_output"]
    assert request.parent_id == caller_id
    assert request.kind == "server"
    workflow = ["POST /service_output", "invoke_workflow default"]
    chat = [*workflow, "generate", "chat model"]
    assert {name: path_to(span, spans)[:-1] for name, span in named.items() if span is not request} == {
        "invoke_workflow default": workflow[:1],
        **dict.fromkeys(("preprocess", "generate", "postprocess"), workflow),
        "chat model": chat[:-1],
        **dict.fromkeys(("queue", "prefill", "decode"), chat),
    }
    queue, prefill, decode = (named[name] for name in ("queue", "prefill", "decode"))
    assert prefill.began_ns == pytest.approx(queue.ended_ns, abs=CLOCK_NS, rel=0)
    assert decode.began_ns == pytest.approx(prefill.ended_ns, abs=CLOCK_NS, rel=0)
    assert named["chat model"].began_ns - CLOCK_NS < queue.began_ns
    assert decode.ended_ns < named["chat model"].ended_ns + CLOCK_NS


def test_attributes_are_those_of_the_conventions(running: ServiceProcess, collector: Collector) -> None:
    trace_id, _ = asked_within_a_trace(running, DATA, headers={"x-request-id": "mine-2"})

    named = by_name(collector.trace(trace_id, 9))
    chat = named["chat model"].attributes
    usage = {name: chat.pop(f"gen_ai.usage.{name}") for name in ("input_tokens", "cache_read.input_tokens")}
    assert usage["input_tokens"] > len(SECRET) // 8
    assert 0 <= usage["cache_read.input_tokens"] < usage["input_tokens"]
    assert chat == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "onnxruntime",
        "gen_ai.request.model": "model",
        "gen_ai.request.max_tokens": 4,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 0,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.response.finish_reasons": ["length"],
    }
    assert named["invoke_workflow default"].attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "default",
    }
    assert named["POST /service_output"].attributes == {
        "http.request.method": "POST",
        "http.route": "/service_output",
        "http.response.status_code": 200,
        "http.response.header.x-request-id": ["mine-2"],
    }
    resource = named["POST /service_output"].resource
    assert resource["service.name"] == "llm-inference-service"
    has_engine = running.engine_pid is not None
    assert (named["decode"].resource["process.pid"] == resource["process.pid"]) is not has_engine


def test_the_log_line_of_a_request_names_its_trace(running: ServiceProcess, collector: Collector) -> None:
    trace_id, _ = asked_within_a_trace(running, DATA, headers={"x-request-id": "mine-3"})

    collector.trace(trace_id, 9)
    (line,) = (line for line in running.log_lines("request") if line["request_id"] == "mine-3")
    assert line["trace_id"] == trace_id


def test_the_engine_logs_under_the_id_of_the_request_that_it_serves() -> None:
    with service("--workers=2", LLM_BACKEND="scripted", LLM_LOG_LEVEL="debug") as running:
        assert running.post(DATA, headers={"x-request-id": "mine-4"}).status_code == 200
        deadline_s = time.monotonic() + 10
        routes: set[str] = set()
        while len(routes) < 2 and time.monotonic() < deadline_s:
            lines = running.log_lines("request")
            routes = {line["route"] for line in lines if line["request_id"] == "mine-4"}

    assert routes == {"/service_output", "/v1/chat/completions"}


def test_a_stream_is_a_trace_too(running: ServiceProcess, collector: Collector) -> None:
    trace_id = os.urandom(16).hex()
    headers = {"authorization": f"Bearer {TOKEN}", "traceparent": f"00-{trace_id}-{'1' * 16}-01"}
    body = {"messages": [{"role": "user", "content": SECRET}], "stream": True, "max_tokens": 4}
    response = httpx2.post(f"{running.url}/v1/chat/completions", json=body, headers=headers, timeout=30)
    assert response.text.endswith("data: [DONE]\n\n")

    spans = collector.trace(trace_id, 5)
    assert {span.name for span in spans} == {
        "POST /v1/chat/completions",
        "chat model",
        "queue",
        "prefill",
        "decode",
    }
    decode = by_name(spans)["decode"]
    assert path_to(decode, spans) == ["POST /v1/chat/completions", "chat model", "decode"]


def test_a_caller_who_does_not_trace_gets_a_trace_of_ours_and_one_who_samples_nothing_none(
    running: ServiceProcess, collector: Collector
) -> None:
    unsampled = os.urandom(16).hex()
    authorization = {"authorization": f"Bearer {TOKEN}"}
    not_sampled: dict[str, Any] = {"traceparent": f"00-{unsampled}-{'1' * 16}-00"}
    malformed: dict[str, Any] = {"traceparent": b"00-zz-\xff-01"}
    request_ids = [os.urandom(8).hex() for _ in range(3)]
    for extra, request_id in zip((not_sampled, malformed, {}), request_ids, strict=True):
        headers = {**authorization, **extra, "x-request-id": request_id}
        assert running.post(DATA, headers=headers).status_code == 200

    for request_id in request_ids[1:]:
        roots = collector.wait_for(
            lambda span, own=request_id: (  # type: ignore[misc]
                span.attributes.get("http.response.header.x-request-id") == [own]
            )
        )
        assert [root.parent_id for root in roots] == [""]
        collector.trace(roots[0].trace_id, 9)
    assert not [span for span in collector.spans if span.trace_id == unsampled]


def test_what_fails_is_marked_with_the_kind_of_error_and_nothing_of_its_words(
    running: ServiceProcess, collector: Collector
) -> None:
    trace_id = os.urandom(16).hex()
    headers = {"authorization": f"Bearer {TOKEN}", "traceparent": f"00-{trace_id}-{'1' * 16}-01"}
    too_long = {**DATA, "text": f"{SECRET} " * 5000}
    assert running.post(too_long, headers=headers).status_code == 400

    named = by_name(collector.trace(trace_id, 5))
    assert named["chat model"].has_failed
    assert named["chat model"].attributes["error.type"] == "ContextLengthError"
    assert not named["POST /service_output"].has_failed
    assert named["POST /service_output"].attributes["http.response.status_code"] == 400


def test_a_job_is_a_trace_with_its_id(running: ServiceProcess, collector: Collector) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "prefer": "respond-async"}
    job_id = running.post(DATA, headers=headers).json()["id"]

    (job,) = collector.wait_for(lambda span: span.attributes.get("llm.job.id") == job_id)
    spans = collector.trace(job.trace_id, 9)
    assert path_to(by_name(spans)["decode"], spans)[:2] == ["job default", "invoke_workflow default"]
    (line,) = (line for line in running.wait_for_log("job") if line["job_id"] == job_id)
    assert line["trace_id"] == job.trace_id


def test_probes_and_scrapes_are_no_traces(running: ServiceProcess, collector: Collector) -> None:
    for path in ("/health", "/health/ready", "/metrics"):
        httpx2.get(f"{running.url}{path}", headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
    trace_id, _ = asked_within_a_trace(running, DATA)
    collector.trace(trace_id, 9)

    assert not [span for span in collector.spans if "health" in span.name or "metrics" in span.name]


def test_no_prompt_answer_or_token_is_in_what_was_sent(running: ServiceProcess, collector: Collector) -> None:
    trace_id, _ = asked_within_a_trace(running, DATA)
    collector.trace(trace_id, 9)

    for text in (SECRET, TOKEN):
        assert text.encode() not in collector.raw


def test_the_openai_backend_goes_on_with_the_trace_in_another_service(
    collector: Collector, tiny_folder: Path
) -> None:
    key: dict[str, Any] = {"LLM_AUTH_TOKENS": TOKEN, "LLM_OPENAI_API_KEY": TOKEN}
    with (
        service(LLM_MODEL=str(tiny_folder), OTEL_SERVICE_NAME="behind", **key, **to(collector)) as behind,
        service(
            LLM_BACKEND="openai", LLM_OPENAI_BASE_URL=f"{behind.url}/v1", **key, **to(collector)
        ) as running,
    ):
        trace_id, _ = asked_within_a_trace(running, DATA)
        spans = collector.trace(trace_id, 11)

    decode = next(span for span in spans if span.name == "decode")
    assert path_to(decode, spans) == [
        "POST /service_output",
        "invoke_workflow default",
        "generate",
        "chat model",
        "POST /v1/chat/completions",
        "chat model",
        "decode",
    ]
    clients = [span for span in spans if span.kind == "client"]
    assert [span.attributes["gen_ai.provider.name"] for span in clients] == ["openai"]
    assert decode.resource["service.name"] == "behind"


@pytest.mark.timeout(300)
def test_a_proof_and_its_calldata_are_steps(collector: Collector, tmp_path: Path) -> None:
    write_head(tmp_path / "head.onnx", (16, 16, 3))
    circuit = built_circuit(tmp_path / "head.onnx", tmp_path / "circuit")
    workflow = "domain.workflows.vector_decision.VectorDecisionWorkflow"
    with service(
        LLM_BACKEND="scripted",
        LLM_CIRCUIT=str(circuit),
        LLM_AUTH_TOKENS=TOKEN,
        FLASK_LLM_WORKFLOW_CLASS=workflow,
        FLASK_LLM_WORKFLOW_KW_ARGS=json.dumps({"labels": ["noop", "buy", "sell"]}),
        **to(collector),
    ) as running:
        trace_id, _ = asked_within_a_trace(running, {"inputs": VECTOR})
        spans = collector.trace(trace_id, 12)

    named = by_name(spans)
    assert path_to(named["calldata"], spans)[:3] == [
        "POST /service_output",
        "job default",
        "invoke_workflow default",
    ]
    steps = [named[name] for name in ("queue", "witness", "prove", "verify", "calldata")]
    assert {path_to(step, spans)[-2] for step in steps} == {"proof"}
    assert [step.began_ns for step in steps] == sorted(step.began_ns for step in steps)
    assert str(VECTOR[1]).encode() not in collector.raw


def test_spans_are_sent_before_the_process_ends(collector: Collector) -> None:
    slow = {**to(collector), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with service("--workers=2", LLM_BACKEND="scripted", LLM_AUTH_TOKENS=TOKEN, **slow) as running:
        trace_id, _ = asked_within_a_trace(running, DATA)
        assert running.stop() == 0, running.log

    spans = collector.trace(trace_id, 6)
    assert "chat scripted" in {span.name for span in spans}


def test_a_collector_that_is_not_there_costs_no_request_and_holds_up_no_end() -> None:
    silent: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with service(LLM_BACKEND="scripted", **silent) as running:
        for _ in range(3):
            assert running.post(DATA).status_code == 200
        began_s = time.monotonic()
        assert running.stop() == 0

    assert time.monotonic() - began_s < 20


@pytest.mark.parametrize(
    ("settings", "is_on"),
    [
        ({}, False),
        ({"LLM_TRACES": "on"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"LLM_TRACES": "off", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
    ],
)
def test_nothing_of_it_is_imported_where_it_is_off(
    settings: dict[str, Any], is_on: bool, tmp_path: Path
) -> None:
    (tmp_path / "importing.py").write_text(
        "import sys\n"
        "from domain.workflow import LLMInferenceWorkflow\n"
        "class Importing(LLMInferenceWorkflow):\n"
        "    def postprocess(self, generation, request):\n"
        "        return str(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    python_path = os.pathsep.join([str(tmp_path), *sys.path])
    with service(
        LLM_BACKEND="scripted",
        FLASK_LLM_WORKFLOW_CLASS="importing.Importing",
        PYTHONPATH=python_path,
        **settings,
    ) as running:
        assert running.post(DATA).json() == str(is_on)
