"""What becomes of the service when an engine can never work again."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from adapters.settings import Settings
from entrypoints import engine_supervisor
from entrypoints.child_process import SERVES
from entrypoints.engine_supervisor import EngineSupervisor
from entrypoints.start_failure import EXIT_CONFIGURATION

WAIT_S = 30


def serve_once(_: Path, lifeline: Connection, __: Settings, mark: Path, ___: bool) -> None:
    """Serve until it is killed; where that was done before, find that it cannot work."""
    if mark.exists():
        sys.exit(EXIT_CONFIGURATION)
    mark.touch()
    lifeline.send(SERVES)
    lifeline.poll(None)


@pytest.fixture
def arrived() -> Iterator[list[int]]:
    """The SIGTERMs that this process was sent."""
    numbers: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize("is_retired", [False, True])
def test_an_engine_that_cannot_start_again_ends_the_service_unless_it_is_retired(
    is_retired: bool, arrived: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_supervisor, "_run_engine", serve_once)
    engine = EngineSupervisor(tmp_path / "socket", Settings(), tmp_path / "mark")
    assert engine.start()
    assert engine._process is not None
    if is_retired:
        engine.retire()

    os.kill(engine._process.pid or 0, signal.SIGKILL)

    engine._watcher.join(WAIT_S)
    assert not engine._watcher.is_alive()
    time.sleep(0)  # handlers run between two instructions of this thread
    assert arrived == ([] if is_retired else [signal.SIGTERM])
    engine.stop()
