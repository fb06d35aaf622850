"""``launch``: runs Hypercorn, and turns the way it ended into an exit status.

Several workers share one engine process, which has the model: it is started before them, and stopped when
they have answered their last requests. SIGHUP has others take their place (``entrypoints.reloader``).

Hypercorn returns when it is told to stop, and when no worker lives long. Its own status does not tell the two
apart, so the signals that arrive are noted beside its handlers.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from hypercorn.__main__ import main as hypercorn

from adapters.settings import Settings
from entrypoints.admin_server import admin_server
from entrypoints.backlog import refuse_backlog
from entrypoints.engine_supervisor import ENGINE_NAME
from entrypoints.launch_folder import LAUNCH_FOLDER, METRICS_FOLDER
from entrypoints.reloader import Reloader
from entrypoints.start_failure import EXIT_CONFIGURATION, START_FAILURE_FILE
from entrypoints.worker_supervision import WorkerSupervision

APPLICATION = "entrypoints.asgi:app"
DEFAULTS = "python:entrypoints.hypercorn_defaults"

EXIT_WORKER_DIED = 1

FOLDER = "llm-inference-service-"

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def launch(arguments: Sequence[str], settings: Settings) -> int:
    """Serve until told to stop.

    Args:
        arguments: Hypercorn's; they override ``entrypoints.hypercorn_defaults``.
        settings: as they are at the start.

    Returns:
        0 when told to stop, ``EXIT_CONFIGURATION`` when a worker or the engine could not start as configured,
        ``EXIT_WORKER_DIED`` when workers ended otherwise again and again, or the engine before it served.
    """
    chooses_config = any(a in {"-c", "--config"} or a.startswith("--config=") for a in arguments)
    defaults = [] if chooses_config else ["--config", DEFAULTS]
    num_workers = _num_workers(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=FOLDER, ignore_cleanup_errors=True)))
        reloader = stack.enter_context(Reloader(folder, num_workers))
        signal.signal(signal.SIGHUP, lambda *_: None)
        signals = stack.enter_context(_ArrivingSignals(refuse_backlog, reloader.ask))
        first = reloader.first(settings)
        workers = WorkerSupervision(first)
        workers.install()
        os.environ[START_FAILURE_FILE] = str(first.start_failure)
        metrics = folder / "metrics"
        metrics.mkdir()
        stack.enter_context(admin_server(settings.admin_bind, metrics))
        os.environ[LAUNCH_FOLDER], os.environ[METRICS_FOLDER] = str(folder), str(metrics)
        if first.engine is not None:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until Hypercorn sets its own
            if not first.engine.start():
                return EXIT_CONFIGURATION if first.start_failure.exists() else EXIT_WORKER_DIED
        reloader.follow(workers)
        status = hypercorn([*defaults, *arguments, APPLICATION])
        workers.end_trial()
        workers.end_retired()
        _wait_for_workers()
        if workers.generation.start_failure.exists():
            return EXIT_CONFIGURATION
        if num_workers == 0 or signals.has_stop():
            return status
        return status or EXIT_WORKER_DIED


def _wait_for_workers() -> None:
    """Wait for the workers that still answer requests: Hypercorn returns when the first has ended."""
    for child in multiprocessing.active_children():
        if child.name != ENGINE_NAME:
            child.join()


def _num_workers(arguments: Sequence[str]) -> int:
    """Return how many workers the command line asks for; 0 runs the application in this process."""
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-w", "--workers", type=int, default=1)
    return int(parser.parse_known_args(arguments)[0].workers)


class _ArrivingSignals:
    """Notes the signals that arrive, whatever handlers are set meanwhile.

    Args:
        on_stop: called in a thread of its own, at the first that tells to stop; the end of the context waits
            for it.
        on_hangup: called there at each SIGHUP.
    """

    def __init__(self, on_stop: Callable[[], None], on_hangup: Callable[[], None]) -> None:
        self._on_hangup = on_hangup
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)  # noqa: FBT003 - its own signature
        self._on_stop = on_stop
        self._has_stop = threading.Event()
        self._reader = threading.Thread(target=self._read, name="signals", daemon=True)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._writing.close()
        self._reader.join()
        self._reading.close()

    def has_stop(self) -> bool:
        """Tell whether SIGTERM or SIGINT arrived."""
        return self._has_stop.is_set()

    def _read(self) -> None:
        while numbers := self._reading.recv(4096):
            if signal.SIGHUP in numbers:
                self._on_hangup()
            if not self._has_stop.is_set() and not STOP_SIGNALS.isdisjoint(numbers):
                self._has_stop.set()
                self._on_stop()
