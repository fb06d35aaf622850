"""The environment of a service under test: nothing of the developer's own settings."""

import os

OURS = ("LLM_", "FLASK_LLM_", "HUGGING_FACE_", "HF_", "OTEL_")


def service_environment(settings: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with only the given settings of the service."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    own = {
        "LLM_LOG_FORMAT": "json",
        "LLM_JOURNAL": "memory",
        "LLM_NUM_THREADS": "1",  # threads that wait spin, and other tests need the processors
        "PYTHONUNBUFFERED": "1",
    }
    return {**inherited, **own, **settings}
