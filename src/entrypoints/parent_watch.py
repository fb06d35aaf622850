"""Ends a worker whose launcher is gone: killed, it cannot tell its workers, and they would keep the port."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def end_with_launcher() -> None:
    """Send this process SIGTERM when the process that spawned it ends; nothing where none did."""
    launcher = multiprocessing.parent_process()
    if launcher is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, args=(launcher.sentinel,), name="launcher-watch", daemon=True).start()
