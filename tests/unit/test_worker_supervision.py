"""When a worker that died is replaced, and when the service ends instead."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrypoints.worker_supervision import MAX_SHORT_LIVES, SHORT_LIFE_S, WorkerSupervision


class Process:
    """A worker that was killed when it is looked at."""

    pid = None
    exitcode = -9

    def join(self) -> None: ...


@dataclass
class Team:
    """A generation whose workers could start."""

    start_failure: Path


class Clock:
    """Stands still until it is told."""

    time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


@pytest.mark.parametrize("life_s", [SHORT_LIFE_S / 2, SHORT_LIFE_S * 2])
def test_workers_that_live_long_are_replaced_however_many_die_at_once(life_s: float, tmp_path: Path) -> None:
    clock = Clock()
    team: Any = Team(tmp_path / "none")
    supervision = WorkerSupervision(team, clock)
    workers: list[Any] = [Process() for _ in range(MAX_SHORT_LIVES + 1)]
    supervision._started_s.update(dict.fromkeys(workers, 0.0))
    clock.time_s = life_s

    statuses = [supervision.join_exited([worker]) for worker in workers]

    assert statuses == [0] * MAX_SHORT_LIVES + [-9 if life_s < SHORT_LIFE_S else 0]
