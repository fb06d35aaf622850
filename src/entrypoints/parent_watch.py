"""Ties a worker to its launcher.

A launcher that is killed cannot tell its workers, and they would keep the port: they end by themselves. One
that is told to stop tells them, and Hypercorn 0.18 then sends SIGTERM to those that still answer requests
when the first has ended (a supervisor may send it to all at once, too): they go on until they are done.
"""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from entrypoints.child_process import pass_over
from entrypoints.launch_folder import remove_launch_folder


def end_with_launcher() -> None:
    """End this process with the process that spawned it, and not by SIGTERM; nothing where none did."""
    launcher = multiprocessing.parent_process()
    if launcher is None:
        return

    pass_over((signal.SIGTERM, signal.SIGHUP))  # a terminal that is closed tells all

    def watch(sentinel: int) -> None:
        wait([sentinel])
        remove_launch_folder()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, args=(launcher.sentinel,), name="launcher-watch", daemon=True).start()
