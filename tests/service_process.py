"""The service as its user starts it: a process of its own, over a real socket."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.service_environment import service_environment

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40
SERVE = (sys.executable, "-m", "entrypoints.cli", "serve")
_RUNNING_ON = re.compile(r"Running on http://([\d.]+):(\d+)")


class ServiceProcess:
    """A running service; made by ``service``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._has_line = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""

    @property
    def log(self) -> str:
        """Everything on stdout and stderr so far."""
        return "\n".join(self.lines)

    @property
    def worker_pids(self) -> list[int]:
        """Hypercorn's workers."""
        return [pid for pid in self.child_pids if pid != self.engine_pid]

    @property
    def engine_pid(self) -> int | None:
        """The engine that several workers share; None where there is none."""
        served = self.log_lines("the engine serves")
        return served[-1]["pid"] if served else None

    @property
    def child_pids(self) -> list[int]:
        """The processes of the service, but for the launcher."""
        children = children_of(self.process.pid)
        return [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """Return the JSON log lines of one event."""
        parsed = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in parsed if line["event"] == event]

    def wait_for_log(self, event: str, count: int = 1, timeout_s: float = 10) -> list[dict[str, Any]]:
        """Wait until the log has ``count`` lines of an event, and return them."""
        with self._has_line:
            found = self._has_line.wait_for(lambda: len(self.log_lines(event)) >= count, timeout_s)
        assert found, self.log
        return self.log_lines(event)

    def wait_for_address(self) -> str:
        """Wait until it listens; returns its URL, which ``url`` holds from then on."""
        with self._has_line:
            found = self._has_line.wait_for(
                lambda: self._ended or _RUNNING_ON.search(self.log), START_TIMEOUT_S
            )
        address = _RUNNING_ON.search(self.log)
        assert found, self.log
        assert address, self.log
        self.url = f"http://127.0.0.1:{address[2]}"
        return self.url

    def wait_until_ready(self) -> None:
        """Wait until ``/health/ready`` says so."""
        address = self.wait_for_address()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while httpx2.get(f"{address}/health/ready", timeout=10).status_code != 200:
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.05)

    def post(
        self, data: dict[str, Any] | str, path: str = "/service_output", **options: Any
    ) -> httpx2.Response:
        """Send an off-chain request."""
        payload = {"source": 1, "data": data}
        return httpx2.post(f"{self.url}{path}", json=payload, timeout=options.pop("timeout", 60), **options)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Tell it to stop and wait; returns its exit status."""
        self.process.send_signal(signal_number)
        status = self.process.wait(STOP_TIMEOUT_S)
        self._reader.join(5)
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._has_line:
                self.lines.append(line.rstrip("\n"))
                self._has_line.notify_all()
        with self._has_line:
            self._ended = True
            self._has_line.notify_all()


@contextmanager
def service(
    *arguments: str,
    command: Sequence[str] = SERVE,
    cwd: Path | None = None,
    bind: str = "127.0.0.1:0",
    **settings: Any,
) -> Iterator[ServiceProcess]:
    """Start the service with settings in its environment, wait until it is ready, stop it afterwards."""
    with started(*arguments, f"--bind={bind}", command=command, cwd=cwd, **settings) as running:
        running.wait_until_ready()
        yield running


@contextmanager
def started(
    *arguments: str, command: Sequence[str] = SERVE, cwd: Path | None = None, **settings: Any
) -> Iterator[ServiceProcess]:
    """Start the service and do not wait."""
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=service_environment(settings),
        start_new_session=True,
    )
    running = ServiceProcess(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert process.stdout is not None
        running._reader.join(5)
        process.stdout.close()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started; none when it is gone."""
    try:
        # a process belongs to the thread that started it: a launcher's first, or the one that restarts
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
