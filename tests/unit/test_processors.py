"""A quota counts as the processors that it is worth."""

import os
from pathlib import Path

import pytest

from adapters.processors import num_processors


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [("200000 100000\n", 2), ("250000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 8)],
)
def test_a_container_has_its_quota(tmp_path: Path, cpu_max: str, expected: int) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max})

    assert num_processors(root) == expected


def test_the_narrowest_of_the_groups_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/pods/one/service\n",
        "sys/fs/cgroup/pods/cpu.max": "600000 100000\n",
        "sys/fs/cgroup/pods/one/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/pods/one/service/cpu.max": "max 100000\n",
    }

    assert num_processors(write(tmp_path, files)) == 3


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 8)])
def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path, quota: str, expected: int) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
    }

    assert num_processors(write(tmp_path, files)) == expected


def test_without_control_groups_the_set_counts(tmp_path: Path) -> None:
    assert num_processors(tmp_path) == 8


def test_what_cannot_be_read_is_no_quota(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "?"}

    assert num_processors(write(tmp_path, files)) == 8
