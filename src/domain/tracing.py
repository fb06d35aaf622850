"""Traces: what a request went through and how long each step took, as spans within spans.

Names of attributes are OpenTelemetry's, of its conventions for HTTP and for generative AI. None of them holds
what the work is about: no prompt, no answer, no label, no key.

::

    POST /service_output
      invoke_workflow default
        preprocess
        generate
          chat MODEL            a process of its own where several workers share the model
            queue, prefill, decode
        postprocess
          proof                 queue, calldata
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol, Self, TypeAlias

Attribute: TypeAlias = str | int | float | bool | Sequence[str]
Attributes: TypeAlias = Mapping[str, Attribute]


class SpanKind(Enum):
    """Whose work a span stands for."""

    INTERNAL = "internal"
    SERVER = "server"
    """A caller's request."""
    CLIENT = "client"
    """What is asked of another service."""


class Span(Protocol):
    """A step under way."""

    def rename(self, name: str) -> None:
        """Give it another name."""
        ...

    def set(self, attributes: Attributes) -> None:
        """Say more of it."""
        ...

    def fail(self, error_type: str) -> None:
        """Note that it failed, and with what kind of error; never with which words."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Make it the one that steps begun in the block belong to."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """Note that it is over."""
        ...


class Tracer(Protocol):
    """Is told of steps; returns at once and raises nothing."""

    def start(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        """Begin a step of the current one; for who cannot hold a block open."""
        ...

    def span(
        self, name: str, attributes: Attributes | None = None, kind: SpanKind = SpanKind.INTERNAL
    ) -> AbstractContextManager[Span]:
        """Begin a step of the current one, which is the current one in the block and over at its end."""
        ...

    def record(self, name: str, began_s: float, ended_s: float, attributes: Attributes | None = None) -> None:
        """Tell of a step of the current one that is over; times of ``time.perf_counter``."""
        ...

    def continued(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """Go on, in the block, with the trace that a request's headers tell of (W3C Trace Context)."""
        ...

    def headers(self) -> dict[str, str]:
        """Return the headers by which another process goes on with the current trace."""
        ...

    @property
    def trace_id(self) -> str | None:
        """The current trace's id, 32 hex digits; None where there is none."""
        ...

    async def close(self) -> None:
        """Send what was not sent yet; for a few seconds at most."""
        ...


class _NoSpan:
    """The span where nobody traces."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None: ...

    def current(self) -> AbstractContextManager[object]:
        return self

    def end(self, error: BaseException | None = None) -> None: ...


_NO_SPAN = _NoSpan()


class NobodyTraces:
    """The tracer where there is none."""

    trace_id = None

    def start(self, *_: object, **__: object) -> Span:
        return _NO_SPAN

    def span(self, *_: object, **__: object) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def record(self, *_: object, **__: object) -> None: ...

    def continued(self, *_: object, **__: object) -> AbstractContextManager[object]:
        return _NO_SPAN

    def headers(self) -> dict[str, str]:
        return {}

    async def close(self) -> None: ...


NO_TRACES = NobodyTraces()
