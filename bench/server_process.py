"""A server's processes: started, waited for, stilled while another is measured, weighed, stopped."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx2

START_TIMEOUT_S = 600
STOP_TIMEOUT_S = 40
PROC = Path("/proc")


class ServerProcess:
    """A process and its children; what it writes is kept for the error message."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output

    @property
    def pids(self) -> list[int]:
        """The process and its descendants."""
        return _tree(self._process.pid)

    @property
    def log(self) -> str:
        """Everything on stdout and stderr so far."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def wait_until_ready(self, url: str) -> None:
        """Wait until a URL answers 200.

        Raises:
            RuntimeError: the process ended, or took too long.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}: {self.log[-3000:]}")
            try:
                if httpx2.get(url, timeout=5).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{url} was not ready in {START_TIMEOUT_S} s: {self.log[-3000:]}")

    def pause(self) -> None:
        """Still every process: it keeps its memory and takes no processor time."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    @property
    def memory_bytes(self) -> int:
        """Proportional set size of all: a page that several share counts once in the sum."""
        return sum(size_bytes(pid, "Pss") for pid in self.pids)

    def stop(self) -> None:
        """Tell it to end; whatever is left of it after a while is killed."""
        pids = self.pids
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        for pid in {*pids, *_tree(self._process.pid)}:
            if pid == self._process.pid or _is_of_session(pid, self._process.pid):
                _send(pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            _send(pid, number)


def start_server(command: Sequence[str], environment: dict[str, str]) -> ServerProcess:
    """Start a server in a session of its own.

    From then on SIGTERM interrupts this process as Ctrl-C does, so that servers are stopped on the way out.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return ServerProcess(process, output)


@contextmanager
def running_server(
    command: Sequence[str], environment: dict[str, str], ready_url: str
) -> Iterator[ServerProcess]:
    """Start a server, wait until it is ready, stop it afterwards."""
    server = start_server(command, environment)
    try:
        server.wait_until_ready(ready_url)
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def size_bytes(pid: int, name: str) -> int:
    """Return a size of a process, by its name in ``/proc/PID/smaps_rollup``; 0 when the process is gone."""
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and (fields := _status(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _status(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` behind the name: state, parent, group, session; or none."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _is_of_session(pid: int, session: int) -> bool:
    fields = _status(pid)
    return bool(fields) and int(fields[3]) == session


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
