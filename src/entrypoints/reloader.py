"""``Reloader``: on SIGHUP, processes with the settings as they are now take the place of those that serve.

The old ones serve until each of the new ones does, and then answer what they have accepted. If one of the new
ones cannot start, the others end, and nothing has changed.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog

from adapters.settings import Settings, read_settings
from domain.errors import ConfigurationError
from entrypoints.generation import Generation, new_generation
from entrypoints.worker_supervision import WorkerSupervision

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Reloader:
    """The generations of one launcher. A context manager: at its end no engine is left.

    Args:
        folder: the launcher's.
        num_workers: of each generation.
        read: reads the settings.
    """

    def __init__(self, folder: Path, num_workers: int, read: Callable[[], Settings] = read_settings) -> None:
        self._folder = folder
        self._num_workers = num_workers
        self._read = read
        self._num_generations = 0
        self._alive: list[Generation] = []
        self._current: Generation | None = None
        self._workers: WorkerSupervision | None = None
        self._is_asked = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.end_trial()
        for generation in list(self._alive):
            self._end(generation)

    def first(self, settings: Settings) -> Generation:
        """Return the generation to begin with, whose engine is not started yet."""
        self._current = self._new(settings)
        return self._current

    def follow(self, workers: WorkerSupervision) -> None:
        """Do from now on what ``ask`` asks for, in a thread of its own."""
        self._workers = workers
        threading.Thread(target=self._run, name="reload", daemon=True).start()

    def ask(self) -> None:
        """Have the service reloaded, once more if it is being reloaded."""
        self._is_asked.set()

    def _run(self) -> None:
        while self._is_asked.wait():
            self._is_asked.clear()
            started_s = time.monotonic()
            reason = self._reload()
            if reason is None:
                took_s = round(time.monotonic() - started_s, 2)
                log.info("the service is reloaded", generation=self._num_generations, took_s=took_s)
            else:
                log.error("the reload failed; the service goes on as it was", reason=reason)

    def _reload(self) -> str | None:
        """Return None, or why it failed."""
        if self._workers is None or self._current is None or not self._workers.has_begun:
            return "the service is starting"
        try:
            generation = self._new(self._settings_after(self._current.settings))
        except ConfigurationError as error:
            return str(error)
        try:
            if generation.engine is not None and not generation.engine.start(is_trial=True):
                return self._given_up(generation, "the engine ended before it served")
            if not self._workers.replace(generation):
                return self._given_up(generation, "a worker ended before it served")
        except Exception as error:  # noqa: BLE001 - whatever it is, what serves goes on
            return self._given_up(generation, f"no process could be started: {type(error).__name__}: {error}")
        old, self._current = self._current, generation
        if old.engine is not None:
            old.engine.retire()
        threading.Thread(target=self._retire, args=(old,), name="retire", daemon=True).start()
        return None

    def _settings_after(self, old: Settings) -> Settings:
        settings = self._read()
        if settings.admin_bind != old.admin_bind:
            raise ConfigurationError("LLM_ADMIN_BIND: the launcher listens there; a restart can change it")
        return settings

    def _retire(self, generation: Generation) -> None:
        if self._workers is not None:
            self._workers.wait_for_retired(generation)
        self._end(generation)
        log.info("the last worker of before the reload has ended", generation=generation.number)

    def _new(self, settings: Settings) -> Generation:
        self._num_generations += 1
        generation = new_generation(self._num_generations, self._folder, settings, self._num_workers)
        self._alive.append(generation)
        return generation

    def _given_up(self, generation: Generation, otherwise: str) -> str:
        self._end(generation)
        reason = generation.start_failure
        return reason.read_text(encoding="utf-8") if reason.exists() else otherwise

    def _end(self, generation: Generation) -> None:
        if generation.engine is not None:
            generation.engine.stop()
        if generation in self._alive:
            self._alive.remove(generation)
