"""The engine process: the one that has the model, for workers that reach it over a Unix socket.

It lives as long as its lifeline, a connection whose other end the launcher holds: told to stop or killed, the
launcher drops it. Signals are for the launcher, which stops the workers first.
"""

import asyncio
import importlib
import importlib.util
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette

from adapters.settings import Settings
from adapters.telemetry.logs import configure_logs
from adapters.telemetry.metrics import Metrics
from domain.errors import ConfigurationError
from domain.tracing import Tracer
from entrypoints import hypercorn_defaults
from entrypoints.child_process import SERVES, keep_what_is_loaded, pass_over
from entrypoints.connections import ConnectionLimits, Connections
from entrypoints.container import build_generator, build_tracer, runner_limits
from entrypoints.http.engine_app import create_engine_app
from entrypoints.start_failure import START_FAILURE_FILE, be_quiet, end_process

MAX_CONNECTIONS = 1 << 16
"""More than the workers have requests."""
GRACEFUL_TIMEOUT_S = 3.0
"""The workers have answered their requests by then, or are gone."""


def run_engine(
    socket: Path, lifeline: Connection, settings: Settings, start_failure: Path, is_trial: bool
) -> None:
    """Serve on a socket until the lifeline ends; says ``SERVES`` on it before.

    Args:
        socket: where to listen.
        lifeline: to the launcher.
        settings: what to serve.
        start_failure: to be made where this can never work as configured.
        is_trial: whether it is left to the launcher to say why.
    """
    pass_over((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    os.environ[START_FAILURE_FILE] = str(start_failure)
    if is_trial:
        be_quiet()
    try:
        tracer = build_tracer(settings)
        configure_logs(settings.log_level, settings.log_format, tracer)
        app = _application(settings, tracer)
    except ConfigurationError as error:
        end_process(error)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, socket, lifeline))
    finally:
        # the launcher may be gone: then nobody else removes them
        socket.unlink(missing_ok=True)
        with suppress(OSError):
            socket.parent.rmdir()


def _application(settings: Settings, tracer: Tracer) -> Starlette:
    generator = build_generator(settings, Metrics(settings.metrics_prefix), tracer)
    limits = runner_limits(settings)
    # Hypercorn's own would keep what a worker has closed until its time is over
    Connections(ConnectionLimits(MAX_CONNECTIONS, settings.header_timeout_s), limits.drain).install()
    return create_engine_app(generator, limits, tracer=tracer, on_start_failure=end_process)


async def _serve(app: Starlette, socket: Path, lifeline: Connection) -> None:
    is_dropped = asyncio.Event()

    async def until_dropped() -> None:
        asyncio.get_running_loop().add_reader(lifeline.fileno(), is_dropped.set)
        keep_what_is_loaded()
        lifeline.send(SERVES)  # Hypercorn listens when it asks how long to serve
        await is_dropped.wait()
        asyncio.get_running_loop().remove_reader(lifeline.fileno())  # its end would be told again and again

    config = Config()
    config.bind = [f"unix:{socket}"]
    config.backlog = hypercorn_defaults.backlog
    config.keep_alive_max_requests = hypercorn_defaults.keep_alive_max_requests
    config.keep_alive_timeout = hypercorn_defaults.keep_alive_timeout
    config.startup_timeout = hypercorn_defaults.startup_timeout
    config.graceful_timeout = GRACEFUL_TIMEOUT_S
    config.logconfig_dict = hypercorn_defaults.logconfig_dict
    config.loglevel = "WARNING"
    # Starlette types a scope as a plain mapping
    await serve(app, config, shutdown_trigger=until_dropped)  # type: ignore[arg-type]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory
