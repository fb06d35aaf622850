"""The time that a request may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.errors import DeadlineExceededError


@asynccontextmanager
async def deadline(timeout_s: float) -> AsyncIterator[None]:
    """Cancel what runs inside after ``timeout_s`` seconds.

    Raises:
        DeadlineExceededError: the time passed.
    """
    try:
        async with asyncio.timeout(timeout_s) as timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise DeadlineExceededError(f"the request took longer than {timeout_s:g} s") from error
