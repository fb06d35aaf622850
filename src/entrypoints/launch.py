"""``launch``: runs Hypercorn, and turns the way it ended into an exit status.

Hypercorn returns when it is told to stop, and when a worker died. Its own status does not tell the two
apart, so the signals that arrive are noted beside its handlers.
"""

import os
import signal
import socket
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from hypercorn.__main__ import main as hypercorn

from entrypoints.start_failure import EXIT_CONFIGURATION, START_FAILURE_FILE

APPLICATION = "entrypoints.asgi:app"
DEFAULTS = "python:entrypoints.hypercorn_defaults"

EXIT_WORKER_DIED = 1

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def launch(arguments: Sequence[str]) -> int:
    """Serve until told to stop.

    Args:
        arguments: Hypercorn's; they override ``entrypoints.hypercorn_defaults``.

    Returns:
        0 when told to stop, ``EXIT_CONFIGURATION`` when a worker could not start as configured,
        ``EXIT_WORKER_DIED`` when one ended otherwise.
    """
    chooses_config = any(a in {"-c", "--config"} or a.startswith("--config=") for a in arguments)
    defaults = [] if chooses_config else ["--config", DEFAULTS]
    with TemporaryDirectory(prefix="llm-inference-service-") as folder, _ArrivingSignals() as signals:
        start_failure = Path(folder) / "start_failure"
        os.environ[START_FAILURE_FILE] = str(start_failure)
        status = hypercorn([*defaults, *arguments, APPLICATION])
        if start_failure.exists():
            return EXIT_CONFIGURATION
        if _num_workers(arguments) == 0 or signals.has_stop():
            return status
        return status or EXIT_WORKER_DIED


def _num_workers(arguments: Sequence[str]) -> int:
    """Return how many workers the command line asks for; 0 runs the application in this process."""
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-w", "--workers", type=int, default=1)
    return int(parser.parse_known_args(arguments)[0].workers)


class _ArrivingSignals:
    """Notes each signal that arrives as a byte, whatever handlers are set meanwhile."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)  # noqa: FBT003 - its own signature
        self._writing.setblocking(False)  # noqa: FBT003

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self._reading.close()
        self._writing.close()

    def has_stop(self) -> bool:
        """Tell whether SIGTERM or SIGINT arrived."""
        with suppress(BlockingIOError):
            return not STOP_SIGNALS.isdisjoint(self._reading.recv(4096))
        return False
