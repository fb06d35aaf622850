"""Metrics on an address of their own: there for all processes, and no longer where callers are."""

import socket
import subprocess
import sys

import httpx2
import pytest
from bench.server_process import free_port

from entrypoints.start_failure import EXIT_CONFIGURATION
from tests.service_environment import service_environment
from tests.service_process import service

REQUEST = {"key": "1", "messageId": "2", "text": "hi", "history": []}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_all_processes_are_told_of_there_and_nowhere_else(num_workers: int) -> None:
    bind = f"127.0.0.1:{free_port()}"
    with service(f"--workers={num_workers}", LLM_BACKEND="scripted", LLM_ADMIN_BIND=bind) as running:
        for _ in range(10):
            assert running.post(REQUEST).status_code == 200
        told = httpx2.get(f"http://{bind}/metrics", timeout=10)
        public = httpx2.get(f"{running.url}/metrics", timeout=10)
        document = httpx2.get(f"{running.url}/openapi.json", timeout=10).json()
        assert running.stop() == 0

    assert told.headers["content-type"].startswith("text/plain")
    assert 'llm:http_requests_total{method="POST",route="/service_output",status="200"} 10.0' in told.text
    assert public.status_code == 404
    assert "/metrics" not in document["paths"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(bind.rpartition(":")[2]))) != 0


def test_an_address_that_is_taken_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.cli", "serve", "--bind=127.0.0.1:0"],
            env=service_environment({"LLM_BACKEND": "scripted", "LLM_ADMIN_BIND": bind}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ended.returncode == EXIT_CONFIGURATION
    assert f"LLM_ADMIN_BIND: {bind} cannot be bound to" in ended.stderr
    assert "Traceback" not in ended.stderr
