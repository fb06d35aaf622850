"""How a worker that cannot start says why: once, however many workers fail, and the launcher hears of it.

Hypercorn 0.18 loses the exit status of its workers, so the launcher names a file that the first failing
worker creates.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from domain.errors import ConfigurationError

START_FAILURE_FILE = "LLM_SERVICE_START_FAILURE_FILE"
"""Set by the launcher for its workers; not a setting."""

EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits.h."""


def end_process(error: ConfigurationError) -> NoReturn:
    """Print why the service cannot start, unless another worker has, and end this process at once."""
    if _is_first_to_tell():
        print(f"llm-inference-service cannot start: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_CONFIGURATION)


def somebody_told() -> bool:
    """Tell whether a process of this service has found that it can never work as configured."""
    file = os.environ.get(START_FAILURE_FILE)
    return file is not None and Path(file).exists()


def _is_first_to_tell() -> bool:
    file = os.environ.get(START_FAILURE_FILE)
    if file is not None:
        with suppress(FileNotFoundError):  # the launcher is gone already
            try:
                Path(file).touch(exist_ok=False)
            except FileExistsError:
                return False
    return True
