"""A process is killed while it commits: what a method had returned is there, and the file is sound."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from adapters.journal import SqliteJournal, SqliteOptions
from domain.jobs import JobOutcome, JobRequest, JobState, StoredReply

NUM_KILLS = 50


async def write_without_end(path: Path) -> None:
    """Record and finish jobs; say of each what was done once the journal had returned."""
    journal = SqliteJournal(path, SqliteOptions())
    await journal.open()
    done = JobOutcome(JobState.SUCCEEDED, reply=StoredReply("yes" * 500, 1, 1, "stop"))
    number = time.time_ns()
    while True:
        number += 1
        job = JobRequest(str(number), "o", "w", "i", {"data": "x" * 2000}, "d", key=str(number))
        await journal.add(job, now_s=1, claimant="c", lease_s=1)
        print(f"added {number}", flush=True)  # noqa: T201 - for the parent
        await journal.finish(job.job_id, "c", done, now_s=2, releases_key=False)
        print(f"finished {number}", flush=True)  # noqa: T201


def test_kills_in_the_middle_of_commits_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    moments = random.Random(3)  # noqa: S311 - repeatable on purpose
    said: dict[str, str] = {}
    command = [sys.executable, __file__, str(path)]
    for _ in range(NUM_KILLS):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        lines = (first + rest).split("\n")[:-1]  # the last may be cut off
        said |= {number: event for event, number in (line.split(" ") for line in lines)}

    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    states = dict(connection.execute("SELECT job_id, state FROM jobs").fetchall())
    connection.close()
    assert len(said) > NUM_KILLS
    for number, event in said.items():
        assert states[number] == "succeeded" or (event == "added" and states[number] == "running")


if __name__ == "__main__":
    asyncio.run(write_without_end(Path(sys.argv[1])))
