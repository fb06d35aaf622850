"""What the service stands on goes away under it, and comes back: the disk, the journal, the model's files.

Needs root, for a file system of its own that is small.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service_process import ServiceProcess, service, started

DISK_MIB = 4
LATER = {"Prefer": "respond-async"}


def data_of(text: str) -> dict[str, Any]:
    return {"key": "", "messageId": "", "text": text, "history": []}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    if os.geteuid() != 0:
        pytest.fail("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)],
        check=True,
    )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def results(running: ServiceProcess, job_ids: list[str]) -> list[Any]:
    jobs = [httpx2.get(f"{running.url}/jobs/{job_id}?wait=30", timeout=40).json() for job_id in job_ids]
    return [job["result"] for job in jobs]


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass


def test_a_full_disk_refuses_new_jobs_and_loses_none(small_disk: Path) -> None:
    settings: dict[str, Any] = {
        "LLM_JOURNAL": "sqlite",
        "LLM_JOURNAL_PATH": str(small_disk / "journal.sqlite3"),
    }
    with service(LLM_BACKEND="scripted", **settings) as running:
        before = [running.post(data_of(f"early {n}"), headers=LATER).json()["id"] for n in range(5)]
        filling = small_disk / "filling"
        fill(filling)
        refused = [running.post(data_of("x" * 100_000), headers=LATER) for _ in range(3)]
        plain = running.post(data_of("no job"))
        keyed = running.post(data_of("x" * 100_000), headers={"Idempotency-Key": "k"})
        filling.unlink()
        after = running.post(data_of("late"), headers=LATER)
        again = running.post(data_of("again"), headers={"Idempotency-Key": "k"})

        assert [response.status_code for response in refused] == [503] * 3
        assert refused[0].headers["retry-after"]
        assert plain.json() == "no job"
        assert keyed.status_code == 503
        assert after.status_code == 202
        assert again.json() == "again"
        assert results(running, [*before, after.json()["id"]]) == [*(f"early {n}" for n in range(5)), "late"]
        assert running.stop() == 0


def test_a_locked_journal_refuses_jobs_and_nothing_else_meanwhile(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite3"
    settings: dict[str, Any] = {"LLM_JOURNAL": "sqlite", "LLM_JOURNAL_PATH": str(journal)}
    with service(LLM_BACKEND="scripted", **settings) as running:
        before = running.post(data_of("early"), headers=LATER).json()["id"]
        assert results(running, [before]) == ["early"]
        with closing(sqlite3.connect(journal, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            refused = httpx2.post(
                f"{running.url}/service_output",
                json={"source": 1, "data": data_of("x")},
                headers=LATER,
                timeout=40,
            )
            plain = running.post(data_of("no job"))
            alive = httpx2.get(f"{running.url}/health")
            other.execute("ROLLBACK")
        after = running.post(data_of("late"), headers=LATER)

        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        assert plain.json() == "no job"
        assert alive.status_code == 200
        assert results(running, [before, after.json()["id"]]) == ["early", "late"]


def test_a_model_that_is_damaged_stops_the_start_with_one_message(tiny_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "model"
    shutil.copytree(tiny_folder, damaged)
    weights = max(damaged.iterdir(), key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-1000])
    with started("--bind=127.0.0.1:0", LLM_MODEL=str(damaged)) as running:
        assert running.process.wait(60) == 78
        running._reader.join(5)

    assert weights.name in running.log
    assert "Traceback" not in running.log


def test_a_model_whose_files_go_away_is_served_on(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    data = data_of("hello") | {"parameters": {"max_tokens": 16}}
    with service("--workers=2", LLM_MODEL=str(folder)) as running:
        before = running.post(data).json()
        shutil.rmtree(folder)

        assert running.post(data).json() == before
        assert httpx2.get(f"{running.url}/health/ready").status_code == 200
