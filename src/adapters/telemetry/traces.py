"""``OpenTelemetryTracer``: traces over OpenTelemetry's SDK, sent by OTLP over HTTP from a thread of its own.

Imported where traces are wanted, and nowhere else. What the SDK reads of the environment (sampler, headers,
resource, batches) holds as it documents it.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import version

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from domain.tracing import Attributes, Span, SpanKind

PACKAGE = "llm-inference-service"
CLOSE_TIMEOUT_S = 5.0
"""A collector that does not answer holds no process up."""

KINDS = {
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
}


class OpenTelemetryTracer:
    """The ``Tracer`` of one process.

    Args:
        service_name: what the spans are of, unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` say.
        url: where the collector takes traces; None: as the SDK finds it.
    """

    def __init__(self, service_name: str, url: str | None) -> None:
        own: dict[str, str | int] = {
            SERVICE_NAME: service_name,
            "service.version": version(PACKAGE),
            "process.pid": os.getpid(),
        }
        self._provider = TracerProvider(
            resource=Resource(own).merge(_declared_resource()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer(PACKAGE, version(PACKAGE))
        self._propagator = TraceContextTextMapPropagator()

    def start(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        return _OpenSpan(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes))

    @contextmanager
    def span(
        self, name: str, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[Span]:
        span = self.start(name, attributes or {}, kind)
        failure: BaseException | None = None
        try:
            with span.current():
                yield span
        except BaseException as error:
            failure = error
            raise
        finally:
            span.end(failure)

    def record(self, name: str, began_s: float, ended_s: float, attributes: Attributes | None = None) -> None:
        span = self._tracer.start_span(name, start_time=_epoch_ns(began_s), attributes=attributes)
        span.end(_epoch_ns(ended_s))

    def continued(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        return _in_context(self._propagator.extract(headers, context.Context()))

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    @property
    def trace_id(self) -> str | None:
        current = trace.get_current_span().get_span_context()
        return trace.format_trace_id(current.trace_id) if current.is_valid else None

    async def close(self) -> None:
        is_sent = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: it took too long
                loop.call_soon_threadsafe(is_sent.set)

        # a daemon: the process does not wait for it
        threading.Thread(target=shut_down, name="traces-close", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(is_sent.wait(), CLOSE_TIMEOUT_S)


class _OpenSpan:
    """A span of the SDK's."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            self.fail(type(error).__name__)
        self._span.end()


def _declared_resource() -> Resource:
    """Return what the environment says of this service; it wins over what we say."""
    declared = Resource.create()
    return Resource(
        {
            name: value
            for name, value in declared.attributes.items()
            if name != SERVICE_NAME or not str(value).startswith("unknown_service")
        }
    )


@contextmanager
def _in_context(entered: context.Context) -> Iterator[None]:
    token = context.attach(entered)
    try:
        yield
    finally:
        context.detach(token)


def _epoch_ns(counter_s: float) -> int:
    """Return a time of ``time.perf_counter`` as nanoseconds since the epoch."""
    return time.time_ns() - int((time.perf_counter() - counter_s) * 1e9)
