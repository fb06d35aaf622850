"""Lets Hypercorn's launcher outlive its workers: one that dies is replaced, and leaves no lock behind.

Hypercorn 0.18 ends the whole service when a worker dies. And what tells its workers to stop is an event
behind a lock that a worker which is killed may hold for ever, and that a second signal would wait for.
"""

import time
from collections.abc import Callable
from ctypes import c_bool
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import hypercorn.run
import structlog
from prometheus_client.multiprocess import mark_process_dead

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

SHORT_LIFE_S = 10.0
MAX_SHORT_LIVES = 5
"""Workers in a row; then there is something that another worker will not mend."""


class WorkerSupervision:
    """Replaces workers that died. ``install`` before Hypercorn runs.

    Args:
        has_start_failed: whether a worker told that it can never start as configured.
        now: seconds of a clock that never jumps.
    """

    def __init__(
        self, has_start_failed: Callable[[], bool], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._has_start_failed = has_start_failed
        self._now = now
        self._began_s = now()
        self._num_short_lives = 0

    def install(self) -> None:
        """Put this in the place of what Hypercorn does when a worker ended."""
        hypercorn.run._join_exited = self.join_exited  # noqa: SLF001 - it has no other way
        hypercorn.run.get_context = lambda _: LocklessContext()  # type: ignore[assignment, attr-defined]

    def join_exited(self, processes: list[BaseProcess]) -> int:
        """Take the workers that ended out of the list; Hypercorn starts others where this returns 0.

        Returns:
            The status that the service must end with, or 0.
        """
        ended = [process for process in processes if process.exitcode is not None]
        for process in ended:
            process.join()
            processes.remove(process)
        failed = next((process for process in ended if process.exitcode), None)
        if failed is None:
            return 0
        status = failed.exitcode or 0
        if self._has_start_failed() or self._is_hopeless():
            return status
        for process in ended:
            if process.pid is not None:
                mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        log.error("a worker ended and is replaced", pid=failed.pid, exit_status=status)
        return 0

    def _is_hopeless(self) -> bool:
        now_s = self._now()
        is_short = now_s - self._began_s < SHORT_LIFE_S
        self._num_short_lives = self._num_short_lives + 1 if is_short else 0
        self._began_s = now_s
        return self._num_short_lives > MAX_SHORT_LIVES


class SharedFlag:
    """An event of processes without a lock: it can be set in a signal handler, whoever was killed."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def set(self) -> None:
        self._value.value = True

    def clear(self) -> None:
        self._value.value = False

    def is_set(self) -> bool:
        return bool(self._value.value)


class LocklessContext(SpawnContext):
    """Starts processes as Hypercorn does; its events are ``SharedFlag``."""

    def Event(self) -> SharedFlag:  # type: ignore[override]  # noqa: N802 - its own name
        return SharedFlag(self.RawValue(c_bool, False))  # noqa: FBT003 - its own signature
