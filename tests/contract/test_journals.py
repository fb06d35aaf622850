"""The journals that come with the service."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.journal import MemoryJournal, SqliteJournal, SqliteOptions
from domain.errors import ConfigurationError, JournalError, OverloadedError
from domain.jobs import JobState
from tests.contract.journal import JournalContract


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    async def journal(self) -> MemoryJournal:
        journal = MemoryJournal()
        await journal.open()
        return journal

    async def test_finished_jobs_make_room_and_nothing_else_does(self) -> None:
        journal = MemoryJournal(max_jobs=2)
        await self.add(journal, "a", "c")
        await self.add(journal, "b", "c")
        with pytest.raises(OverloadedError):
            await self.add(journal, "c")
        await self.finish(journal, "a", "c")
        await self.add(journal, "c")

        assert await journal.get("a", "o") is None


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    async def journal(self, tmp_path: Path) -> AsyncIterator[SqliteJournal]:
        journal = SqliteJournal(tmp_path / "folder" / "journal.sqlite3", SqliteOptions())
        await journal.open()
        yield journal
        await journal.close()

    async def another(self, tmp_path: Path, **options: Any) -> SqliteJournal:
        journal = SqliteJournal(tmp_path / "folder" / "journal.sqlite3", SqliteOptions(**options))
        await journal.open()
        return journal

    async def test_two_processes_share_it(self, journal: SqliteJournal, tmp_path: Path) -> None:
        other = await self.another(tmp_path)
        await self.add(journal, "a")

        assert await self.claim(other, "d") == ["a"]
        assert await self.claim(journal, "c") == []
        await other.close()

    async def test_its_files_are_the_owners_alone(self, journal: SqliteJournal, tmp_path: Path) -> None:
        await self.add(journal, "a")

        files = list((tmp_path / "folder").iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    async def test_a_wider_mode_is_narrowed(self, journal: SqliteJournal, tmp_path: Path) -> None:
        await journal.close()
        (tmp_path / "folder" / "journal.sqlite3").chmod(0o644)
        again = await self.another(tmp_path)

        assert stat.S_IMODE((tmp_path / "folder" / "journal.sqlite3").stat().st_mode) == 0o600
        await again.close()

    async def test_what_is_erased_is_in_no_file_any_more(
        self, journal: SqliteJournal, tmp_path: Path
    ) -> None:
        await self.add(journal, "a", "c", payload={"data": "my secret words"})
        assert b"my secret words" in contents(tmp_path)
        await self.finish(journal, "a", "c")
        await journal.erase(owner=None, job_id=None, before_s=0)
        assert b"my secret words" not in contents(tmp_path), "the input goes when the job is finished"
        assert b'"answer"' in contents(tmp_path)
        await journal.erase(owner=None, job_id=None, before_s=None)
        assert b'"answer"' not in contents(tmp_path)

    async def test_the_input_is_kept_where_that_is_set(self, journal: SqliteJournal, tmp_path: Path) -> None:
        keeping = await self.another(tmp_path, keeps_input=True)
        await self.add(keeping, "a", "c")
        await self.finish(keeping, "a", "c")

        job = await keeping.get("a", "o")
        assert job is not None
        assert job.payload == {"source": 1}
        await keeping.close()

    async def test_its_size_is_bounded_and_finished_jobs_make_room(
        self, journal: SqliteJournal, tmp_path: Path
    ) -> None:
        small = await self.another(tmp_path, max_bytes=1 << 20, keeps_input=True)
        large = {"data": "x" * 100_000}
        for number in range(40):
            await self.add(small, str(number), "c", payload=large)
            await self.finish(small, str(number), "c")
        assert (tmp_path / "folder" / "journal.sqlite3").stat().st_size < 2 << 20

        added = [self.add(small, f"unfinished {number}", payload=large) for number in range(40)]
        outcomes = await asyncio.gather(*added, return_exceptions=True)
        assert OverloadedError in map(type, outcomes)
        unfinished = await small.page("o", limit=100, before=None)
        assert {job.state for job in unfinished} == {JobState.QUEUED}
        await small.close()

    async def test_a_file_that_is_none_of_ours_stops_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "journal.sqlite3").write_bytes(b"not a database at all" * 100)
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            await self.another(tmp_path)

    async def test_a_file_of_another_version_stops_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        connection = sqlite3.connect(tmp_path / "folder" / "journal.sqlite3")
        connection.execute("PRAGMA user_version = 7")
        connection.close()
        with pytest.raises(ConfigurationError, match="form 7"):
            await self.another(tmp_path)

    async def test_a_journal_that_is_closed_says_so(self, journal: SqliteJournal) -> None:
        await journal.close()
        with pytest.raises(JournalError):
            await self.add(journal, "a")


def contents(tmp_path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (tmp_path / "folder").iterdir())
