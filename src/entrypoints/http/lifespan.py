"""``lifespan_of``: opens what an application serves at start-up, and closes it at shutdown."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from starlette.applications import Starlette

from domain.errors import ConfigurationError
from domain.tracing import Tracer


class Served(Protocol):
    """What an application serves."""

    async def open(self) -> None:
        """Get ready. Raises ``ConfigurationError`` when it never will be."""
        ...

    async def close(self) -> None:
        """Release everything."""
        ...


def lifespan_of(
    served: Served,
    on_start_failure: Callable[[ConfigurationError], None] | None,
    tracer: Tracer,
    on_start: Callable[[], None] = lambda: None,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return the lifespan of an application.

    Args:
        served: not yet open.
        on_start_failure: told when it can never work as configured, before the lifespan fails; may end the
            process.
        tracer: closed after it.
        on_start: called when it is open.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            await served.open()
        except ConfigurationError as error:
            if on_start_failure is not None:
                on_start_failure(error)
            raise
        on_start()
        try:
            yield
        finally:
            await served.close()
            await tracer.close()

    return lifespan
