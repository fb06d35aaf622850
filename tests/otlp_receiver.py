"""A collector that takes OTLP over HTTP, and knows the spans it was sent."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.scripted_server import scripted_server, send


@dataclass(frozen=True)
class ReceivedSpan:
    """One span, as it came over the wire."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    has_failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What was received so far."""

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    raw: bytes = b""

    def trace(self, trace_id: str, num_spans: int, timeout_s: float = 20) -> list[ReceivedSpan]:
        """Wait until so many spans of a trace are there; returns them in the order they began."""
        return self.wait_for(lambda span: span.trace_id == trace_id, num_spans, timeout_s)

    def wait_for(
        self, condition: Callable[[ReceivedSpan], bool], num_spans: int = 1, timeout_s: float = 20
    ) -> list[ReceivedSpan]:
        """Wait for so many spans for which something holds; returns them in the order they began."""
        deadline_s = time.monotonic() + timeout_s
        while len(found := [span for span in self.spans if condition(span)]) < num_spans:
            assert time.monotonic() < deadline_s, [span.name for span in self.spans]
            time.sleep(0.05)
        return sorted(found, key=lambda span: span.began_ns)


@contextmanager
def otlp_receiver() -> Iterator[Collector]:
    """Receive until the block ends."""
    collector = Collector()

    def receive(handler: Any, body: bytes) -> None:
        assert handler.path == "/v1/traces"
        collector.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(group.resource.attributes)
            collector.spans += [_received(s, resource) for scope in group.scope_spans for s in scope.spans]
        send(handler, 200, content_type="application/x-protobuf")

    with scripted_server(receive) as url:
        collector.url = url
        yield collector


def _received(span: Span, resource: dict[str, Any]) -> ReceivedSpan:
    assert not span.events
    assert not span.status.message
    return ReceivedSpan(
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == Status.STATUS_CODE_ERROR,
        _plain(span.attributes),
        resource,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))
