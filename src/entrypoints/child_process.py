"""What the launcher does alike with its workers and with its engine."""

import os
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from prometheus_client.multiprocess import mark_process_dead

from entrypoints.launch_folder import METRICS_FOLDER

SERVES = "serves"
"""What a child says once it does."""


def has_started(process: BaseProcess, report: Connection) -> bool:
    """Wait until a child serves, or has ended.

    Args:
        process: the child.
        report: where it says ``SERVES``.
    """
    wait([report, process.sentinel])
    try:
        return report.poll() and report.recv() == SERVES
    except (EOFError, OSError):
        return False


def forget_gauges(process: BaseProcess) -> None:
    """Let what an ended child was doing no longer count at /metrics; its totals stay."""
    if process.pid is not None and METRICS_FOLDER in os.environ:
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
