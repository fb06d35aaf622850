"""``Generation``: the processes that were started together, with one reading of the settings."""

from dataclasses import dataclass, field
from pathlib import Path

from adapters.settings import Backend, Settings
from entrypoints.engine_supervisor import EngineSupervisor
from entrypoints.worker_supervision import LocklessContext, SharedFlag


def _new_flag() -> SharedFlag:
    return LocklessContext().Event()


@dataclass(frozen=True, slots=True)
class Generation:
    """Workers, and the engine that they share where there is one."""

    number: int
    settings: Settings
    start_failure: Path
    """Made by the first of its processes that can never work as configured; holds the reason."""
    engine: EngineSupervisor | None
    retire: SharedFlag = field(default_factory=_new_flag)
    """Tells its workers that others took their place."""

    @property
    def engine_socket(self) -> Path | None:
        """Where its engine listens."""
        return None if self.engine is None else self.engine.socket


def new_generation(number: int, folder: Path, settings: Settings, num_workers: int) -> Generation:
    """Return a generation of which nothing is started yet.

    Args:
        number: from 1 on.
        folder: the launcher's.
        settings: for each of its processes, and those that take their place; several workers share a backend
            that runs here.
        num_workers: 0: there is no process but the launcher.
    """
    start_failure = folder / f"start_failure_{number}"
    if num_workers < 2 or settings.backend is Backend.OPENAI:  # noqa: PLR2004 - several
        return Generation(number, settings, start_failure, None)
    engine = EngineSupervisor(folder / f"engine{number}.sock", settings, start_failure)
    return Generation(number, settings, start_failure, engine)
