"""Metrics on an address that callers do not reach: the launcher tells those of all processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from domain.errors import ConfigurationError


@contextmanager
def admin_server(bind: str | None, metrics_folder: Path) -> Iterator[None]:
    """Serve while the block runs.

    Args:
        bind: ``HOST:PORT``; None: nothing is served.
        metrics_folder: where each process writes its own.

    Raises:
        ConfigurationError: the address cannot be bound to.
    """
    if bind is None:
        yield
        return
    host, _, port = bind.rpartition(":")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(metrics_folder))  # type: ignore[no-untyped-call]
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"LLM_ADMIN_BIND: {bind} cannot be bound to ({error})") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
