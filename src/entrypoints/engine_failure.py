"""Ends a process whose engine will answer nobody any more, so that whoever started it starts another."""

import os
import time
from typing import NoReturn

import structlog

EXIT_ENGINE_BROKEN = 70
"""``EX_SOFTWARE`` of sysexits.h."""
LAST_WORDS_S = 0.5
"""For callers to be told what became of their requests."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def end_broken_process(reason: str) -> NoReturn:
    """Write why, and end this process; an engine of several workers is started again."""
    log.critical("the process ends", reason=reason)
    time.sleep(LAST_WORDS_S)
    os._exit(EXIT_ENGINE_BROKEN)
