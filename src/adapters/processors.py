"""How many processors this process can keep busy."""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def num_processors(root: Path = ROOT) -> int:
    """Return how many are in the process's set, or in the quota of its control groups where that is less.

    Of a quota whole processors count, one at least: threads that wait for one that is stopped gain nothing.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the limits, in processors (cgroup v2's ``cpu.max``, or v1's ``cpu.cfs_quota_us``)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not on Linux
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:
            mounted, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            mounted, read = root / "sys/fs/cgroup" / controllers, _quota_v1
        else:
            continue
        own = mounted / name.lstrip("/")
        # a container sees its own group as the root, whatever it is called outside
        for folder in (own, *own.parents):
            try:
                quota = read(folder)
            except (OSError, ValueError):
                quota = None
            if quota is not None:
                yield quota
            if folder == mounted:
                break


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota, period = (
        int((folder / name).read_text(encoding="utf-8")) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    return quota / period if quota > 0 else None
