"""How a worker learns where the engine process listens."""

import os
from pathlib import Path

ENGINE_SOCKET = "LLM_SERVICE_ENGINE_SOCKET"
"""Set by the launcher for its workers; not a setting."""


def engine_socket() -> Path | None:
    """Return where the engine of this worker listens; None where the worker has the model itself."""
    socket = os.environ.get(ENGINE_SOCKET)
    return None if socket is None else Path(socket)
