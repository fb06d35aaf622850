"""Every secret setting is a marker that is found in no log, answer, metric, document, command line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from pydantic import SecretStr

from adapters.settings import Settings
from tests.service_environment import service_environment
from tests.service_process import ServiceProcess, service

MARKER = "marker-of-a-secret"
FILE_TOKEN = f"{MARKER}-in-a-file"
SECRETS = {
    "HUGGING_FACE_HUB_TOKEN": f"hf_{MARKER}",
    "LLM_OPENAI_API_KEY": f"sk-{MARKER}",
    "LLM_DEPLOYER_PRIVATE_KEY": f"0x{MARKER}",
    "LLM_AUTH_TOKENS": json.dumps(
        [{"token": f"{MARKER}-of-alice", "name": "alice", "scopes": ["infer", "jobs", "admin"]}]
    ),
}
PASSWORD = f"{MARKER}-of-collector"
TRACES = {
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={PASSWORD}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # nobody listens, and each attempt fails
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}
REQUEST = {"key": "1", "messageId": "2", "text": "hi", "history": []}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("secrets") / "tokens.json"
    file.write_text(json.dumps([{"token": FILE_TOKEN, "name": "bob", "scopes": ["infer"]}]))
    return {**SECRETS, **TRACES, "LLM_AUTH_TOKENS_FILE": str(file), "LLM_LOG_LEVEL": "debug"}


@pytest.fixture(scope="module")
def running(settings: dict[str, Any], tiny_folder: Path) -> Iterator[ServiceProcess]:
    with service("--workers=2", LLM_MODEL=str(tiny_folder), **settings) as started_service:
        yield started_service


def test_every_secret_setting_is_among_them() -> None:
    fields = Settings.model_fields.values()
    secret = {str(f.validation_alias) for f in fields if SecretStr in {f.annotation, *get_args(f.annotation)}}

    assert secret | {"LLM_AUTH_TOKENS"} == set(SECRETS)
    assert all(MARKER in value for value in SECRETS.values())


def test_no_answer_shows_one(running: ServiceProcess) -> None:
    alice, bob = ({"Authorization": f"Bearer {token}"} for token in (f"{MARKER}-of-alice", FILE_TOKEN))
    wrong = {"Authorization": f"Bearer {MARKER}-of-nobody"}
    broken: dict[str, Any] = {"source": 1, "data": {"text": 1}}

    def ask(method: str, path: str, headers: dict[str, str], **options: Any) -> httpx2.Response:
        return httpx2.request(method, f"{running.url}{path}", headers=headers, timeout=60, **options)

    answers = [
        (401, ask("GET", "/jobs", wrong)),
        (401, ask("POST", "/v1/chat/completions", wrong, json={})),
        (403, ask("GET", "/metrics", bob)),
        (403, ask("GET", "/jobs", bob)),
        (400, ask("POST", "/service_output", bob, json=broken)),
        (400, ask("POST", "/v1/chat/completions", bob, json={"messages": 1})),
        (404, ask("GET", "/jobs/none", alice)),
        (404, ask("GET", "/nowhere", alice)),
        (405, ask("DELETE", "/workflows", alice)),
        (200, ask("POST", "/service_output", bob, json={"source": 1, "data": REQUEST})),
        (200, ask("GET", "/workflows", bob)),
        (200, ask("GET", "/service-resources", bob)),
        (200, ask("GET", "/service_output/schema", bob)),
        (200, ask("GET", "/jobs", alice)),
        (200, ask("GET", "/metrics", alice)),
        (200, ask("GET", "/openapi.json", {})),
        (200, ask("GET", "/", {"Accept": "text/html"})),
        (200, ask("GET", "/docs", {})),
        (200, ask("GET", "/health/ready", {})),
    ]

    for status, answer in answers:
        assert answer.status_code == status, answer.text
        assert MARKER not in answer.text + str(answer.headers)


def test_no_command_line_shows_one(running: ServiceProcess) -> None:
    processes = [running.process.pid, *running.child_pids]

    assert len(processes) >= 4  # launcher, engine, two workers
    for pid in processes:
        assert MARKER not in Path(f"/proc/{pid}/cmdline").read_text()


def test_no_line_of_the_log_shows_one(settings: dict[str, Any], tiny_folder: Path) -> None:
    with service("--workers=2", LLM_MODEL=str(tiny_folder), **settings) as running:
        for token in (FILE_TOKEN, f"{MARKER}-of-nobody"):
            running.post(REQUEST, headers={"Authorization": f"Bearer {token}"})
        running.post({"text": 1}, headers={"Authorization": f"Bearer {FILE_TOKEN}"})
        running.wait_for_log("request", 3)
        os.kill(running.engine_pid or 0, 9)
        running.wait_until_ready()
        running.stop()

    assert any(line["level"] == "debug" for line in running.log_lines("request"))
    assert MARKER not in running.log


@pytest.mark.parametrize(
    "problem",
    [
        {},
        {"LLM_AUTH_TOKENS": f"{MARKER},{MARKER}"},
        {"LLM_AUTH_TOKENS": json.dumps([{"token": MARKER, "name": f"not a name: {MARKER}"}])},
        {"LLM_AUTH_TOKENS": f'[{{"token": "{MARKER}"'},
        {"LLM_BACKEND": "openai", "LLM_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
        {"LLM_BACKEND": "openai"},
    ],
)
def test_neither_doctor_nor_a_start_that_fails_shows_one(
    settings: dict[str, Any], tmp_path: Path, problem: dict[str, str]
) -> None:
    own = {"LLM_BACKEND": "scripted", "LLM_CACHE_DIR": str(tmp_path), **settings, **problem}
    for command in ("doctor", "serve"):
        if command == "serve" and not _is_wrong(problem):
            continue
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.cli", command],
            env=service_environment(own),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stdout + ended.stderr
        assert (ended.returncode != 0) == _is_wrong(problem)
        assert MARKER not in ended.stdout + ended.stderr


def _is_wrong(problem: dict[str, str]) -> bool:
    return "LLM_AUTH_TOKENS" in problem or problem == {"LLM_BACKEND": "openai"}
