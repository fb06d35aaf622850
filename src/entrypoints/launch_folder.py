"""The launcher's temporary folder: the engine's socket, the processes' metrics, why a start failed.

The launcher removes it. Where it was killed, its workers do, before they end themselves.
"""

import os
import shutil

LAUNCH_FOLDER = "LLM_SERVICE_LAUNCH_FOLDER"
"""Set by the launcher for its processes; not a setting."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where each process writes its metrics, for any to tell of all; prometheus-client's own name."""


def remove_launch_folder() -> None:
    """Remove what a launcher that is gone left behind."""
    folder = os.environ.get(LAUNCH_FOLDER)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
