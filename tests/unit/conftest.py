"""What unit tests share."""

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from adapters.telemetry.logs import configure_logs


@pytest.fixture
def configured_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Sets logs up for one test alone, since the stream that they go to is gone afterwards."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    yield configure_logs
    structlog.reset_defaults()
