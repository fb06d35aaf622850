"""Hypercorn's settings where its own are not what a model server wants; the command line overrides them.

Read by Hypercorn itself (``--config python:entrypoints.hypercorn_defaults``).
"""

import importlib.util

bind = "127.0.0.1:3000"
backlog = 1024
worker_class = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"

keep_alive_max_requests = 1_000_000_000
"""Its own limit of 1000 closes the connection under a client that is about to reuse it."""

keep_alive_timeout = 75.0

graceful_timeout = 30.0
"""Seconds that requests under way may go on after SIGTERM; its own 3 cut most answers off."""

startup_timeout = 1800.0
"""The model may have to be fetched and built at the first start."""

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"hypercorn.error": {"handlers": [], "propagate": True}},
}
"""Hypercorn's own lines go through the application's logs, in one form with the rest."""
