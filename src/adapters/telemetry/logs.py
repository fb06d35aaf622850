"""structlog, and everything that logs through the standard library, as one stream of lines on stderr.

JSON for machines, colours on a terminal. Nothing here may log a caller's text, a token or a key.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor

from domain.tracing import NO_TRACES, Tracer

ESCAPING = json.JSONEncoder(default=repr)


def configure_logs(level: str, log_format: str, tracer: Tracer = NO_TRACES) -> None:
    """Set up logging for this process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        log_format: ``json``, ``pretty``, or ``auto`` for pretty on a terminal.
        tracer: knows the trace that a line belongs to.
    """
    is_pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *([] if tracer is NO_TRACES else [_naming_trace(tracer)]),
        _stamped,
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer()] if is_pretty else [structlog.processors.format_exc_info, _json]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        # straight to the stream: by way of the standard library a line costs three times as much
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx2", "httpcore2", "openai", "filelock", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _naming_trace(tracer: Tracer) -> Processor:
    def named(_logger: Any, _method_name: str, line: EventDict) -> EventDict:
        trace_id = tracer.trace_id
        return line if trace_id is None else {**line, "trace_id": trace_id}

    return named


def _stamped(_logger: Any, method_name: str, line: EventDict) -> EventDict:
    line["level"] = "error" if method_name == "exception" else method_name
    line["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return line


def _json(_logger: Any, _method_name: str, line: EventDict) -> str:
    try:
        return to_json(line, fallback=repr).decode()  # in a fifth of the time
    except ValueError:  # half of a surrogate pair
        return ESCAPING.encode(line)
