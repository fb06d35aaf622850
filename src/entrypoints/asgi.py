"""``hypercorn entrypoints.asgi:app``: the application, wired from its launcher's settings or the environment.

What can never work ends the process with one message and a non-zero exit.
"""

from adapters.settings import read_settings
from adapters.telemetry.logs import configure_logs
from domain.errors import ConfigurationError
from entrypoints.child_process import keep_what_is_loaded
from entrypoints.connections import ConnectionLimits, Connections
from entrypoints.container import build_container, build_tracer
from entrypoints.http.app import create_app
from entrypoints.parent_watch import end_with_launcher
from entrypoints.start_failure import end_process
from entrypoints.worker_process import this_worker


def started() -> None:
    """Tell the launcher that this process serves."""
    keep_what_is_loaded()
    if worker is not None:
        worker.started(container.drain)


worker = this_worker()
end_with_launcher()
try:
    settings = read_settings() if worker is None else worker.settings
    tracer = build_tracer(settings)
    configure_logs(settings.log_level, settings.log_format, tracer)
    engine_socket = None if worker is None else worker.engine_socket
    container = build_container(settings, engine_socket=engine_socket, tracer=tracer, worker=worker)
    app = create_app(container, on_start_failure=end_process, on_start=started)
    limits = ConnectionLimits(settings.max_connections, settings.header_timeout_s)
    Connections(limits, container.drain).install()
except ConfigurationError as error:
    end_process(error)
