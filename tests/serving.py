"""An application behind a real Hypercorn, in the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette


@asynccontextmanager
async def serving(app: Starlette, bind: str) -> AsyncIterator[None]:
    """Serve until the end of the context."""
    config = Config()
    config.bind = [bind]
    config.loglevel = "WARNING"
    config.graceful_timeout = 1.0
    is_serving, is_over = asyncio.Event(), asyncio.Event()

    async def until_over() -> None:
        is_serving.set()
        await is_over.wait()

    # Starlette types a scope as a plain mapping
    server = asyncio.create_task(serve(app, config, shutdown_trigger=until_over))  # type: ignore[arg-type]
    await is_serving.wait()
    try:
        yield
    finally:
        is_over.set()
        await server
