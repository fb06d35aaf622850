"""The first start: a model is made ready in a process of its own, which leaves nothing with the launcher."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from entrypoints.start_failure import EXIT_CONFIGURATION
from tests.checkpoints import LLAMA, write_safetensors_checkpoint
from tests.service_process import ServiceProcess, service, started

LIBRARIES = ("/numpy/", "/onnxruntime/", "/tokenizers/")


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_the_launcher_holds_no_library_of_the_model(checkpoint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"LLM_MODEL": str(checkpoint), "LLM_CACHE_DIR": str(tmp_path / "cache")}
    for _ in range(2):
        with service("--workers=1", **settings) as running:
            assert not [name for name in LIBRARIES if name in mapped(running.process.pid)]
            (worker,) = running.worker_pids
            assert [name for name in LIBRARIES if name in mapped(worker)] == list(LIBRARIES)
            assert running.post("hi").status_code == 200


@contextmanager
def preparing(tmp_path: Path) -> Iterator[tuple[ServiceProcess, int]]:
    """Start on a new cache; yields the service and the process that makes the default model."""
    with started("--bind=127.0.0.1:0", LLM_CACHE_DIR=str(tmp_path)) as running:
        deadline_s = time.monotonic() + 60
        while not list(tmp_path.glob("models/*.partial")):
            assert time.monotonic() < deadline_s, running.log
            time.sleep(0.02)
        (child,) = running.child_pids
        yield running, child


def test_preparation_that_is_killed_is_one_message(tmp_path: Path) -> None:
    with preparing(tmp_path) as (running, child):
        os.kill(child, signal.SIGKILL)
        assert running.process.wait(30) == EXIT_CONFIGURATION
        running._reader.join(5)

    assert len([line for line in running.lines if "enough memory" in line]) == 1
    assert "Traceback" not in running.log
    assert "leaked" not in running.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_preparation_ends_with_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    with preparing(tmp_path) as (running, child):
        running.process.send_signal(number)
        running.process.wait(30)
        deadline_s = time.monotonic() + 10
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        running._reader.join(5)

    assert "Traceback" not in running.log
