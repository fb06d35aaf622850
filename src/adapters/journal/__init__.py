"""Journals: where jobs are recorded before they start."""

from adapters.journal.memory import MemoryJournal
from adapters.journal.sqlite import SqliteJournal, SqliteOptions

__all__ = ["MemoryJournal", "SqliteJournal", "SqliteOptions"]
