"""How a process that cannot start says why: once, however many of them fail, and the launcher hears of it.

Hypercorn 0.18 loses the exit status of its workers, so the launcher names a file that the first failing
process creates. It holds the reason, for a launcher that tells it itself.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from domain.errors import ConfigurationError

START_FAILURE_FILE = "LLM_SERVICE_START_FAILURE_FILE"
"""Set by the launcher for its processes; not a setting."""

EXIT_CONFIGURATION = 78
"""``EX_CONFIG`` of sysexits.h."""

EXIT_INTERRUPTED = 130
"""By Ctrl-C, as shells tell it."""

_is_quiet = False


def be_quiet() -> None:
    """Leave it to the launcher to say why this process cannot start."""
    global _is_quiet  # noqa: PLW0603 - of the process
    _is_quiet = True


def end_process(error: ConfigurationError) -> NoReturn:
    """Print why the service cannot start, unless another process has, and end this process at once."""
    if _is_first_to_tell(error) and not _is_quiet:
        print(f"llm-inference-service cannot start: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_CONFIGURATION)


def somebody_told() -> bool:
    """Tell whether a process of this service has found that it can never work as configured."""
    file = os.environ.get(START_FAILURE_FILE)
    return file is not None and Path(file).exists()


def _is_first_to_tell(error: ConfigurationError) -> bool:
    file = os.environ.get(START_FAILURE_FILE)
    if file is not None:
        try:
            with Path(file).open("x", encoding="utf-8") as told:
                told.write(str(error))
        except FileExistsError:
            return False
        except FileNotFoundError:  # the launcher is gone already
            return True
    return True
