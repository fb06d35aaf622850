"""``SqliteJournal``: jobs in one SQLite file, which the workers of a service share.

Write-ahead logging, and a sync at each commit: what a method returned is on the disk. The file is for its
owner alone (mode 0600), and what is erased is overwritten (https://www.sqlite.org/pragma.html#pragma_secure_delete).
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from domain.errors import ConfigurationError, JournalError, OverloadedError
from domain.jobs import Job, JobOutcome, JobRequest, JobState, StoredError, StoredReply

ResultT = TypeVar("ResultT")

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
ROOM_STEP_JOBS = 100

SCHEMA = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    workflow TEXT NOT NULL,
    identity TEXT NOT NULL,
    digest TEXT NOT NULL,
    key TEXT,
    state TEXT NOT NULL,
    payload TEXT,
    num_attempts INTEGER NOT NULL,
    claimant TEXT,
    lease_until_s REAL NOT NULL,
    due_s REAL NOT NULL,
    created_s REAL NOT NULL,
    finished_s REAL,
    outcome TEXT
) STRICT;
CREATE UNIQUE INDEX one_job_a_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX unfinished ON jobs (state, number) WHERE state IN ('queued', 'running');
CREATE INDEX finished ON jobs (finished_s) WHERE finished_s IS NOT NULL;
"""

IS_OVER = "lease_until_s NOT BETWEEN :now_s AND :now_s + 10 * :lease_s"
"""A lease much longer than one that is given now was given before the clock was set back."""
IS_LEFT = f"((state = 'queued' AND due_s <= :now_s) OR (state = 'running' AND {IS_OVER}))"
IS_MINE = "job_id = :job_id AND claimant = :claimant AND state = 'running'"


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """What is kept, and how much."""

    max_bytes: int = 1 << 30
    """Of the file; finished jobs make room, the oldest first."""
    keeps_input: bool = False
    """Keep what was asked after a job is finished."""


class SqliteJournal:
    """Jobs in a file; one thread does all the work.

    Args:
        path: of the file; made, with its folder, where it is missing.
        options: see ``SqliteOptions``.
    """

    def __init__(self, path: Path, options: SqliteOptions) -> None:
        self._path = path
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        try:
            await self._in_thread(self._open)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"the journal {self._path} cannot be opened: {error}") from error

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._in_thread(connection.close)
            self._thread.shutdown(wait=False)

    async def add(self, job: JobRequest, *, now_s: float, claimant: str | None, lease_s: float) -> Job:
        values = {
            "job_id": job.job_id,
            "owner": job.owner,
            "workflow": job.workflow,
            "identity": job.identity,
            "digest": job.digest,
            "key": job.key,
            "state": (JobState.QUEUED if claimant is None else JobState.RUNNING).value,
            "payload": json.dumps(job.payload),
            "num_attempts": 0 if claimant is None else 1,
            "claimant": claimant,
            "lease_until_s": now_s + lease_s,
            "due_s": now_s,
            "created_s": now_s,
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)

        def work(connection: sqlite3.Connection) -> Job:
            self._make_room(connection)
            with _transaction(connection):
                connection.execute(
                    f"INSERT INTO jobs ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608 - own names
                    values,
                )
                rows = connection.execute(
                    "SELECT * FROM jobs WHERE job_id = :job_id OR (owner = :owner AND key = :key)", values
                ).fetchall()
            return _job(rows[0])

        return await self._run(work)

    async def claim(
        self, claimant: str, identities: Sequence[str], *, now_s: float, lease_s: float, limit: int
    ) -> list[Job]:
        values = {
            "claimant": claimant,
            "identities": json.dumps(list(identities)),
            "now_s": now_s,
            "lease_s": lease_s,
            "limit": limit,
        }
        chosen = (
            f"SELECT number FROM jobs WHERE {IS_LEFT} "  # noqa: S608 - own text
            "AND identity IN (SELECT value FROM json_each(:identities)) ORDER BY number LIMIT :limit"
        )

        def work(connection: sqlite3.Connection) -> list[Job]:
            if connection.execute(chosen, values).fetchone() is None:
                return []  # the usual case takes no lock
            with _transaction(connection):
                rows = connection.execute(
                    "UPDATE jobs SET state = 'running', claimant = :claimant, "  # noqa: S608 - own text
                    "num_attempts = num_attempts + 1, lease_until_s = :now_s + :lease_s "
                    f"WHERE number IN ({chosen}) RETURNING *",
                    values,
                ).fetchall()
            return sorted((_job(row) for row in rows), key=lambda job: job.created_s)

        return await self._run(work)

    async def renew(
        self, claimant: str, job_ids: Sequence[str], *, now_s: float, lease_s: float
    ) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            with _transaction(connection):
                rows = connection.execute(
                    "UPDATE jobs SET lease_until_s = ? WHERE claimant = ? AND state = 'running' "
                    "AND job_id IN (SELECT value FROM json_each(?)) RETURNING job_id",
                    (now_s + lease_s, claimant, json.dumps(list(job_ids))),
                ).fetchall()
            return [str(row["job_id"]) for row in rows]

        return await self._run(work)

    async def finish(
        self, job_id: str, claimant: str, outcome: JobOutcome, *, now_s: float, releases_key: bool
    ) -> bool:
        values = {
            "job_id": job_id,
            "claimant": claimant,
            **self._end_values(outcome, now_s, releases_key=releases_key),
        }
        return await self._changes(f"UPDATE jobs SET {ENDING} WHERE {IS_MINE}", values) == 1  # noqa: S608 - own text

    async def postpone(self, job_id: str, claimant: str, *, due_s: float) -> None:
        values = {"job_id": job_id, "claimant": claimant, "due_s": due_s}
        await self._changes(
            f"UPDATE jobs SET state = 'queued', claimant = NULL, due_s = :due_s WHERE {IS_MINE}",  # noqa: S608
            values,
        )

    async def forget(self, job_id: str, claimant: str) -> None:
        await self._changes(
            f"DELETE FROM jobs WHERE {IS_MINE}",  # noqa: S608 - own text
            {"job_id": job_id, "claimant": claimant},
        )

    async def abandon(
        self, outcome: JobOutcome, identities: Sequence[str], *, created_before_s: float, now_s: float
    ) -> int:
        values = {
            "identities": json.dumps(list(identities)),
            "created_before_s": created_before_s,
            **self._end_values(outcome, now_s, releases_key=True),
        }
        is_free = "(state = 'queued' OR (state = 'running' AND lease_until_s < :now_s))"
        return await self._changes(
            f"UPDATE jobs SET {ENDING} WHERE {is_free} AND created_s < :created_before_s "  # noqa: S608
            "AND identity NOT IN (SELECT value FROM json_each(:identities))",
            values,
        )

    async def get(self, job_id: str, owner: str | None) -> Job | None:
        def work(connection: sqlite3.Connection) -> Job | None:
            row = connection.execute(
                "SELECT * FROM jobs WHERE job_id = ?1 AND (?2 IS NULL OR owner = ?2)", (job_id, owner)
            ).fetchone()
            return None if row is None else _job(row)

        return await self._run(work)

    async def page(self, owner: str, *, limit: int, before: str | None) -> list[Job]:
        def work(connection: sqlite3.Connection) -> list[Job]:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE owner = ?1 AND number < "
                "coalesce((SELECT number FROM jobs WHERE job_id = ?2 AND owner = ?1), 9e18) "
                "ORDER BY number DESC LIMIT ?3",
                (owner, before, limit),
            ).fetchall()
            return [_job(row) for row in rows]

        return await self._run(work)

    async def cancel(self, job_id: str, owner: str, *, now_s: float) -> Job | None:
        values = {
            "job_id": job_id,
            "owner": owner,
            **self._end_values(JobOutcome(JobState.CANCELLED), now_s, releases_key=True),
        }
        await self._changes(
            f"UPDATE jobs SET {ENDING} "  # noqa: S608 - own text
            "WHERE job_id = :job_id AND owner = :owner AND state IN ('queued', 'running')",
            values,
        )
        return await self.get(job_id, owner)

    async def erase(self, *, owner: str | None, job_id: str | None, before_s: float | None) -> int:
        values = {"owner": owner, "job_id": job_id, "before_s": before_s}

        def work(connection: sqlite3.Connection) -> int:
            with _transaction(connection):
                num_erased = connection.execute(
                    "DELETE FROM jobs WHERE finished_s IS NOT NULL AND (:owner IS NULL OR owner = :owner) "
                    "AND (:job_id IS NULL OR job_id = :job_id) "
                    "AND (:before_s IS NULL OR finished_s < :before_s)",
                    values,
                ).rowcount
            _shrink(connection)
            return num_erased

        return await self._run(work)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path.chmod(0o600)
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        with _transaction(connection):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(
                    f"it has the form {version}, and this service writes {SCHEMA_VERSION}"
                )
        self._connection = connection

    def _make_room(self, connection: sqlite3.Connection) -> None:
        while _used_bytes(connection) > self._options.max_bytes:
            with _transaction(connection):
                num_erased = connection.execute(
                    "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs "
                    "WHERE finished_s IS NOT NULL ORDER BY finished_s LIMIT ?)",
                    (ROOM_STEP_JOBS,),
                ).rowcount
            _shrink(connection)
            if num_erased == 0:
                raise OverloadedError("the journal is full of jobs that are not finished")

    def _end_values(self, outcome: JobOutcome, now_s: float, *, releases_key: bool) -> dict[str, Any]:
        return {
            "state": outcome.state.value,
            "outcome": json.dumps(asdict(outcome)),
            "now_s": now_s,
            "releases_key": releases_key,
            "keeps_input": self._options.keeps_input,
        }

    async def _changes(self, statement: str, values: dict[str, Any]) -> int:
        def work(connection: sqlite3.Connection) -> int:
            with _transaction(connection):
                return connection.execute(statement, values).rowcount

        return await self._run(work)

    async def _run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        connection = self._connection
        if connection is None:
            raise JournalError("the journal is not open")
        try:
            return await self._in_thread(work, connection)
        except sqlite3.Error as error:
            raise JournalError(f"the journal failed ({type(error).__name__})") from error

    async def _in_thread(self, work: Callable[..., ResultT], *arguments: Any) -> ResultT:
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._thread, work, *arguments))


ENDING = (
    "state = :state, outcome = :outcome, finished_s = :now_s, claimant = NULL, "
    "key = CASE WHEN :releases_key THEN NULL ELSE key END, "
    "payload = CASE WHEN :keeps_input THEN payload END"
)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _shrink(connection: sqlite3.Connection) -> None:
    """Give erased pages back, and empty the write-ahead log, which still holds them."""
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _used_bytes(connection: sqlite3.Connection) -> int:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
    return (pages - free) * size


def _job(row: sqlite3.Row) -> Job:
    return Job(
        job_id=row["job_id"],
        owner=row["owner"],
        workflow=row["workflow"],
        digest=row["digest"],
        key=row["key"],
        state=JobState(row["state"]),
        payload=None if row["payload"] is None else json.loads(row["payload"]),
        num_attempts=row["num_attempts"],
        created_s=row["created_s"],
        finished_s=row["finished_s"],
        outcome=None if row["outcome"] is None else _outcome(json.loads(row["outcome"])),
    )


def _outcome(stored: dict[str, Any]) -> JobOutcome:
    reply, error = stored["reply"], stored["error"]
    return JobOutcome(
        JobState(stored["state"]),
        None if reply is None else StoredReply(**reply),
        None if error is None else StoredError(**error),
    )
