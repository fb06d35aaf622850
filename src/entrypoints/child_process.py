"""What the launcher does alike with its workers and with its engine, and they with its signals."""

import gc
import os
import signal
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from prometheus_client.multiprocess import mark_process_dead

from entrypoints.launch_folder import METRICS_FOLDER

SERVES = "serves"
"""What a child says once it does."""


def start(process: BaseProcess) -> None:
    """Start a child that a hangup does not end before it says what one is to it: see ``pass_over``."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def pass_over(numbers: Iterable[signal.Signals]) -> None:
    """Have signals do nothing to this process: they are for its launcher."""
    # a handler, not SIG_IGN: that would be inherited by processes this one starts
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def keep_what_is_loaded() -> None:
    """Take what lives as long as the process from the garbage collector, which would pause to look at it."""
    gc.collect()
    gc.freeze()


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
