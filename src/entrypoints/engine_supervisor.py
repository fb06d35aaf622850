"""Starts the engine process, and starts it again whenever it ends; part of the launcher."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import structlog

from adapters.settings import Settings
from entrypoints.child_process import forget_gauges, has_started, start
from entrypoints.start_failure import EXIT_CONFIGURATION

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ENGINE_NAME = "engine"
STOP_TIMEOUT_S = 10.0
SHORT_LIFE_S = 10.0
MAX_PAUSE_S = 5.0


class EngineSupervisor:
    """One engine at a time, on one socket.

    Args:
        socket: where it listens; in a folder that only this user may enter.
        settings: for each of its engines.
        start_failure: what it makes when it can never work as configured.
    """

    def __init__(self, socket: Path, settings: Settings, start_failure: Path) -> None:
        self.socket = socket
        self._settings = settings
        self._start_failure = start_failure
        self._is_stopping = threading.Event()
        self._is_retired = False
        self._lock = threading.Lock()
        self._process: SpawnProcess | None = None
        self._lifeline: Connection | None = None
        self._watcher = threading.Thread(target=self._watch, name="engine-watch", daemon=True)

    def start(self, *, is_trial: bool = False) -> bool:
        """Start the engine and wait until it serves; False when it ended before.

        In a trial, of which the service does not depend, it is left to the caller to say why.
        """
        process, lifeline = self._spawn(is_trial=is_trial)
        if not has_started(process, lifeline):
            process.join()
            if process.exitcode != EXIT_CONFIGURATION and not is_trial:  # which has told why itself
                log.error("the engine ended before it served", exit_status=process.exitcode)
            return False
        log.info("the engine serves", pid=process.pid)
        self._watcher.start()
        return True

    def retire(self) -> None:
        """From now on the service no longer depends on it."""
        self._is_retired = True

    def stop(self) -> None:
        """Let the engine end, and end it when it does not."""
        self._is_stopping.set()
        with self._lock:
            if self._process is None or self._lifeline is None:
                return
            self._lifeline.close()
            # one that does not serve yet has nothing to end
            self._process.join(STOP_TIMEOUT_S if self._watcher.is_alive() else 0)
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
            self.socket.unlink(missing_ok=True)

    def _spawn(self, *, is_trial: bool = False) -> tuple[SpawnProcess, Connection]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        with theirs:
            process = context.Process(
                target=_run_engine,
                args=(self.socket, theirs, self._settings, self._start_failure, is_trial),
                name=ENGINE_NAME,
                daemon=True,
            )
            start(process)
        self._process, self._lifeline = process, ours
        return process, ours

    def _watch(self) -> None:
        num_short_lives = 0
        while (process := self._process) is not None:
            started_s = time.monotonic()
            wait([process.sentinel])
            if self._is_stopping.is_set():
                return
            process.join()
            forget_gauges(process)
            if process.exitcode == EXIT_CONFIGURATION:
                if not self._is_retired:
                    os.kill(os.getpid(), signal.SIGTERM)  # Hypercorn stops the workers
                return
            log.error("the engine ended and is started again", exit_status=process.exitcode)
            is_short = time.monotonic() - started_s < SHORT_LIFE_S
            num_short_lives = num_short_lives + 1 if is_short else 0
            if self._is_stopping.wait(min(0.1 * (2**num_short_lives - 1), MAX_PAUSE_S)):
                return
            with self._lock:
                if self._is_stopping.is_set():
                    return
                process, lifeline = self._spawn()
            if has_started(process, lifeline):
                log.info("the engine serves", pid=process.pid)


def _run_engine(*arguments: Any) -> None:
    from entrypoints.engine_process import run_engine  # noqa: PLC0415 - in the child alone, it is large

    run_engine(*arguments)
