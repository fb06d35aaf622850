"""Lets Hypercorn's launcher outlive its workers: one that dies is replaced, and others can take their place.

Hypercorn 0.18 ends the whole service when a worker dies. And what tells its workers to stop is an event
behind a lock that a worker which is killed may hold for ever, and that a second signal would wait for.
When it reloads, it stops its workers before it starts others.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterable
from ctypes import c_bool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import hypercorn.run
import structlog

from adapters.settings import Settings
from entrypoints.child_process import forget_gauges, has_started, start
from entrypoints.worker_process import Flag, WorkerOrders, run_worker

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

SHORT_LIFE_S = 10.0
MAX_SHORT_LIVES = 5
"""Workers in a row; then there is something that another worker will not mend."""


class WorkerSupervision:
    """Replaces workers. ``install`` before Hypercorn runs.

    Args:
        generation: of the workers to begin with.
        now: seconds of a clock that never jumps.
    """

    def __init__(self, generation: "Team", now: Callable[[], float] = time.monotonic) -> None:
        self.generation = generation
        self._lock = threading.Lock()
        self._changed, self._change = multiprocessing.Pipe(duplex=False)
        self._launch: _Launch | None = None
        self._processes: list[BaseProcess] = []
        self._trial: list[BaseProcess] = []
        self._retired: dict[int, list[BaseProcess]] = {}
        self._now = now
        self._started_s: WeakKeyDictionary[BaseProcess, float] = WeakKeyDictionary()
        self._num_short_lives = 0

    def install(self) -> None:
        """Put this in the place of what Hypercorn does when a worker ended."""
        hypercorn.run._join_exited = self.join_exited  # noqa: SLF001 - it has no other way
        hypercorn.run._populate = self.populate  # type: ignore[assignment] # noqa: SLF001
        hypercorn.run.wait = self.wait  # type: ignore[attr-defined, assignment]
        hypercorn.run.get_context = lambda _: LocklessContext()  # type: ignore[assignment, attr-defined]

    def join_exited(self, processes: list[BaseProcess]) -> int:
        """Take the workers that ended out of the list; Hypercorn starts others where this returns 0.

        Returns:
            The status that the service must end with, or 0.
        """
        with self._lock:
            ended = [process for process in processes if process.exitcode is not None]
            for process in ended:
                process.join()
                processes.remove(process)
        failed = next((process for process in ended if process.exitcode), None)
        if failed is None:
            return 0
        status = failed.exitcode or 0
        if self.generation.start_failure.exists() or self._is_hopeless(failed):
            return status
        for process in ended:
            forget_gauges(process)
            log.error("a worker ended and is replaced", pid=process.pid, exit_status=process.exitcode)
        return 0

    def populate(  # noqa: PLR0917 - Hypercorn's own signature
        self,
        processes: list[BaseProcess],
        config: Any,
        worker: Callable[..., None],
        sockets: Any,
        stop: Flag,
        context: SpawnContext,
    ) -> None:
        """Start the workers that are missing in the list."""
        with self._lock:
            self._processes = processes
            self._launch = _Launch(config, worker, sockets, stop, context)
            while len(processes) < config.workers:
                processes.append(self._start(self._launch, self.generation, is_trial=False)[0])

    def wait(self, _: Iterable[int], timeout: float | None = None) -> list[Any]:
        """Return when one of the workers has ended, whichever serve by then, or so many seconds have passed.

        Returns:
            The sentinels of those that ended.
        """
        # here, since Hypercorn has just set its own, which would stop the workers
        signal.signal(signal.SIGHUP, lambda *_: None)
        while True:
            sentinels = [process.sentinel for process in self._processes]
            ready = wait([*sentinels, self._changed], timeout)
            if self._changed not in ready:
                return ready
            self._changed.recv()

    @property
    def has_begun(self) -> bool:
        """Whether the first workers were started."""
        return self._launch is not None

    def replace(self, generation: "Team") -> bool:
        """Start workers of another generation; once all of them serve, retire those that do now.

        Returns:
            False where a new worker ended before it served: the others are ended, and nothing has changed.

        Raises:
            Exception: one could not even be started; with the same end.
        """
        launch = self._launch
        if launch is None:
            return False
        reports = []
        try:
            for _ in range(launch.config.workers):
                process, report = self._start(launch, generation, is_trial=True)
                self._trial.append(process)
                reports.append((process, report))
        except Exception:
            self.end_trial()
            raise
        if not all(has_started(process, report) for process, report in reports):
            self.end_trial()
            return False
        with self._lock:
            old, self.generation = self.generation, generation
            self._retired[old.number] = list(self._processes)
            self._processes[:] = self._trial
            self._trial = []
        self._change.send(None)
        old.retire.set()
        return True

    def wait_for_retired(self, generation: "Team") -> None:
        """Return when the workers of a generation that was retired have ended."""
        for process in self._retired[generation.number]:
            process.join()
            forget_gauges(process)
        del self._retired[generation.number]

    def end_retired(self) -> None:
        """End the retired workers, which have as long as others have when the service stops."""
        launch = self._launch
        deadline_s = self._now() + (launch.config.graceful_timeout if launch is not None else 0)
        for process in [each for processes in self._retired.values() for each in processes]:
            process.join(max(0.0, deadline_s - self._now()))
            if process.is_alive():
                process.kill()

    def end_trial(self) -> None:
        """End the workers that do not serve yet."""
        trial, self._trial = self._trial, []
        for process in trial:
            process.kill()
            process.join()
            forget_gauges(process)

    def _start(
        self, launch: "_Launch", generation: "Team", *, is_trial: bool
    ) -> tuple[SpawnProcess, Connection]:
        process, report = launch.start(generation, is_trial=is_trial)
        self._started_s[process] = self._now()
        return process, report

    def _is_hopeless(self, failed: BaseProcess) -> bool:
        is_short = self._now() - self._started_s[failed] < SHORT_LIFE_S
        self._num_short_lives = self._num_short_lives + 1 if is_short else 0
        return self._num_short_lives > MAX_SHORT_LIVES


class Team(Protocol):
    """A generation, as far as its workers are concerned; see ``entrypoints.generation``."""

    @property
    def number(self) -> int: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def start_failure(self) -> Path: ...

    @property
    def engine_socket(self) -> Path | None: ...

    @property
    def retire(self) -> "SharedFlag": ...


@dataclass(frozen=True, slots=True)
class _Launch:
    """How Hypercorn starts a worker."""

    config: Any
    worker: Callable[..., None]
    sockets: Any
    stop: Flag
    context: SpawnContext

    def start(self, generation: Team, *, is_trial: bool) -> tuple[SpawnProcess, Connection]:
        """Return a process that was started, and where it says that it serves."""
        ours, theirs = self.context.Pipe(duplex=False)
        with theirs:
            orders = WorkerOrders(
                settings=generation.settings,
                start_failure=generation.start_failure,
                engine_socket=generation.engine_socket,
                stop=self.stop,
                retire=generation.retire,
                report=theirs,
                is_trial=is_trial,
            )
            process = self.context.Process(
                target=run_worker,
                args=(self.worker, self.config, self.sockets, orders),
                daemon=self.config.daemon,
            )
            start(process)
        return process, ours


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
