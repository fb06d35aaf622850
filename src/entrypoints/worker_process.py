"""A worker process: what its launcher tells it, and how it says that it serves.

A worker ends when the service does, or when it is retired, because others took its place after a reload: then
it has time for all that it accepted.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from adapters.settings import Settings
from domain.drain import Drain
from entrypoints.child_process import SERVES
from entrypoints.start_failure import START_FAILURE_FILE, be_quiet

RETIREMENT_S = 600.0
"""At most, for the requests of a retired worker, each of which has a limit of its own; and for its jobs."""
SHUTDOWN_MARGIN = 1.1
HURRY = 0.7
"""Of the time that other workers have: then this one is ended."""
LOOK_EVERY_S = 0.2


class Flag(Protocol):
    """Can be set by another process."""

    def is_set(self) -> bool:
        """Tell whether it was."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerOrders:
    """What a worker is told."""

    settings: Settings
    """Read once for all of its generation, and those that take their place."""
    start_failure: Path
    engine_socket: Path | None
    stop: Flag
    retire: Flag
    report: Connection
    is_trial: bool
    """Whether the service goes on without it; then the launcher says why it cannot start."""


class Worker:
    """This process; also the event that Hypercorn waits for."""

    def __init__(self, orders: WorkerOrders, config: Any) -> None:
        self._orders = orders
        self._config = config
        self._grace_s: float = config.graceful_timeout
        self._watch: asyncio.Task[None] | None = None

    @property
    def settings(self) -> Settings:
        """What to serve."""
        return self._orders.settings

    @property
    def engine_socket(self) -> Path | None:
        """Where the engine listens; None: this process has the model itself."""
        return self._orders.engine_socket

    @property
    def num_workers(self) -> int:
        """Workers that serve side by side, this one included."""
        return int(self._config.workers)

    @property
    def is_retired(self) -> bool:
        """Whether it ends because others took its place, and not with the service."""
        return self._orders.retire.is_set() and not self._orders.stop.is_set()

    def is_set(self) -> bool:
        """Tell whether it must end, and how much time it has from then on."""
        if self.is_retired:
            self._config.graceful_timeout = RETIREMENT_S
            self._config.shutdown_timeout = RETIREMENT_S * SHUTDOWN_MARGIN
        return self._orders.stop.is_set() or self._orders.retire.is_set()

    def started(self, drain: Drain) -> None:
        """Tell the launcher that this process serves; when it was retired, and the service stops, hurry."""
        self._watch = asyncio.ensure_future(self._hurry(drain))
        with suppress(OSError), self._orders.report as report:  # nobody may listen
            report.send(SERVES)

    async def _hurry(self, drain: Drain) -> None:
        while not self._orders.stop.is_set():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(LOOK_EVERY_S)
        if self._orders.retire.is_set():
            drain.begin(self._grace_s * HURRY)


_worker: Worker | None = None


def run_worker(worker: Callable[..., None], config: Any, sockets: Any, orders: WorkerOrders) -> None:
    """Run one of Hypercorn's workers; the target of its process."""
    global _worker  # noqa: PLW0603 - the application is imported by its name, and asks below
    _worker = Worker(orders, config)
    os.environ[START_FAILURE_FILE] = str(orders.start_failure)
    if orders.is_trial:
        be_quiet()
    worker(config=config, sockets=sockets, shutdown_event=_worker)


def this_worker() -> Worker | None:
    """Return this process; None where it is none of a launcher's workers."""
    return _worker
