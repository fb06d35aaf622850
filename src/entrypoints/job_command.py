"""``jobs erase``: takes finished jobs out of the journal, whose they ever are."""

import argparse
import asyncio
import time

from adapters.settings import JournalKind, read_settings
from domain.errors import ConfigurationError, JournalError
from entrypoints.container import build_journal


def run_jobs_command(options: argparse.Namespace) -> int:
    """Erase, and say how many there were; the service may be running.

    Raises:
        ConfigurationError: the journal is no file, or cannot be opened.
    """
    settings = read_settings()
    if settings.journal is not JournalKind.SQLITE:
        raise ConfigurationError("the journal is in memory: it goes with its process")
    before_s = None if options.older_than is None else time.time() - options.older_than
    try:
        num_erased = asyncio.run(_erase(before_s))
    except JournalError as error:
        raise ConfigurationError(str(error)) from error
    print(f"{num_erased} finished jobs erased")
    return 0


async def _erase(before_s: float | None) -> int:
    journal = build_journal(read_settings())
    await journal.open()
    try:
        return await journal.erase(owner=None, job_id=None, before_s=before_s)
    finally:
        await journal.close()
