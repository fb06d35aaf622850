"""Several workers on one engine process: what they answer, what they weigh, and what becomes of crashes."""

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service_process import ServiceProcess, service, started

ROOT = Path(__file__).parents[2]
DATA: dict[str, Any] = {"key": "1", "messageId": "2", "text": "Name three colours.", "history": []}
WORKFLOWS = {
    "agent": "domain.workflows.agent_decision.AgentDecisionWorkflow",
    "mood": {
        "class": "domain.workflows.classification.ClassificationWorkflow",
        "kwargs": {"labels": ["good", "bad"]},
    },
}
MAX_WORKER_MB = 120
FOLDERS = "llm-inference-service-*"


def real_model(folder: Path) -> dict[str, Any]:
    return {
        "LLM_MODEL": str(folder),
        "LLM_DECISION_HEAD": str(ROOT / "examples" / "agent_decision" / "head"),
        "LLM_WORKFLOWS": json.dumps(WORKFLOWS),
        "LLM_DEFAULT_PARAMETERS": '{"max_tokens": 16}',
    }


@pytest.fixture(scope="module")
def running(smollm2_folder: Path) -> Iterator[ServiceProcess]:
    with service("--workers=2", **real_model(smollm2_folder)) as started_service:
        yield started_service


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the launcher makes its folder; short, as the name of a socket must be."""
    folder = Path("/tmp") / f"engine-{os.getpid()}-{time.monotonic_ns() % 10**9}"  # noqa: S108 - short
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def until(condition: Callable[[], bool], running: ServiceProcess, timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, running.log
        time.sleep(0.02)


def pss_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[0]) / 1024


def is_ready(running: ServiceProcess) -> bool:
    return httpx2.get(f"{running.url}/health/ready", timeout=10).status_code == 200


def test_the_answers_are_those_of_one_worker_alone(running: ServiceProcess, smollm2_folder: Path) -> None:
    paths = ["/service_output", "/workflows/mood/service_output", "/workflows/agent/service_output"]
    shared = [[running.post(DATA, path) for path in paths] for _ in range(3)]
    embedded = httpx2.post(f"{running.url}/v1/embeddings", json={"input": "a b"}, timeout=60).json()
    ready = httpx2.get(f"{running.url}/health/ready").json()
    with service("--workers=1", **real_model(smollm2_folder)) as alone:
        expected = [alone.post(DATA, path) for path in paths]
        embedded_alone = httpx2.post(f"{alone.url}/v1/embeddings", json={"input": "a b"}, timeout=60).json()
        ready_alone = httpx2.get(f"{alone.url}/health/ready").json()

    assert expected[0].headers["x-completion-tokens"] == "16"
    for replies in shared:
        assert replies[0].json() == expected[0].json()
        assert replies[0].headers["x-prompt-tokens"] == expected[0].headers["x-prompt-tokens"]
        assert replies[1].json()["probabilities"] == pytest.approx(expected[1].json()["probabilities"])
        assert replies[2].json()["action"] == expected[2].json()["action"]
        assert replies[2].json()["vector"] == pytest.approx(expected[2].json()["vector"], abs=1e-5)
        assert replies[2].json()["rationale"] == expected[2].json()["rationale"]
    assert embedded["data"] == embedded_alone["data"]
    assert ready == ready_alone


def test_a_worker_does_not_load_the_model(running: ServiceProcess) -> None:
    engine_pid = running.engine_pid
    assert engine_pid is not None

    assert len(running.worker_pids) == 2
    for pid in running.worker_pids:
        assert pss_mb(pid) < MAX_WORKER_MB
    assert pss_mb(engine_pid) > MAX_WORKER_MB


def test_errors_of_the_engine_are_told_as_they_are(running: ServiceProcess) -> None:
    empty = running.post(DATA | {"text": ""}, "/workflows/agent/service_output")
    long = running.post(DATA | {"text": "word " * 9000})

    assert empty.status_code == 400
    assert empty.json()["description"] == "data.text: has no tokens"
    assert long.status_code == 400
    assert "context length is 4096 tokens" in long.json()["description"]


class Stream:
    """A streamed answer of so many words, as it goes on."""

    def __init__(self, url: str, num_words: int) -> None:
        self._url = url
        self._text = "word " * num_words
        self.has_begun = asyncio.Event()
        self.end = asyncio.create_task(self._run())

    async def _run(self) -> str:
        body = {"messages": [{"role": "user", "content": self._text}], "stream": True, "max_tokens": 999}
        end = "nothing"
        async with (
            httpx2.AsyncClient(timeout=60, verify=False) as client,
            client.stream("POST", f"{self._url}/v1/chat/completions", json=body) as response,
        ):
            if response.status_code != 200:
                assert response.status_code != 503 or response.headers["retry-after"]
                return str(response.status_code)
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.has_begun.set()
                    end = "done" if line == "data: [DONE]" else "error" if '"error"' in line else "piece"
        return end


async def plain(url: str) -> httpx2.Response:
    """Ask a workflow for a long answer that is no stream."""
    async with httpx2.AsyncClient(timeout=60, verify=False) as client:
        payload = {"source": 1, "data": DATA | {"text": "word " * 200}}
        return await client.post(f"{url}/service_output", json=payload)


def test_an_engine_that_is_killed_under_load_is_started_again() -> None:
    with service("--workers=2", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.03") as running:
        workers, engine_pid = running.worker_pids, running.engine_pid
        assert engine_pid is not None

        async def scenario() -> tuple[list[str], list[httpx2.Response], list[str]]:
            streams = [Stream(running.url, 500) for _ in range(6)]
            for stream in streams:
                await stream.has_begun.wait()
            asked = [asyncio.create_task(plain(running.url)) for _ in range(4)]
            await asyncio.sleep(1)
            os.kill(engine_pid, signal.SIGKILL)
            ends = await asyncio.gather(*(stream.end for stream in streams))
            later = [await Stream(running.url, 3).end for _ in range(5)]
            return ends, await asyncio.gather(*asked), later

        ends, refused, later = asyncio.run(scenario())
        assert ends == ["error"] * 6
        assert [response.status_code for response in refused] == [503] * 4
        assert all(response.headers["retry-after"] for response in refused)
        assert set(later) <= {"503", "done"}
        running.wait_for_log("the engine serves", 2, timeout_s=30)
        until(lambda: is_ready(running), running)

        assert running.post(DATA).json() == DATA["text"]
        assert running.worker_pids == workers
        assert running.engine_pid != engine_pid
        assert running.stop() == 0


def test_without_its_engine_the_service_lives_and_is_not_ready() -> None:
    with service("--workers=2", LLM_BACKEND="scripted") as running:
        engine_pid = running.engine_pid
        assert engine_pid is not None
        os.kill(engine_pid, signal.SIGSTOP)
        try:
            ready = httpx2.get(f"{running.url}/health/ready", timeout=20)
            alive = httpx2.get(f"{running.url}/health", timeout=20)
        finally:
            os.kill(engine_pid, signal.SIGCONT)

        assert ready.status_code == 503
        assert ready.headers["retry-after"]
        assert alive.status_code == 200
        until(lambda: is_ready(running), running)


def test_an_engine_that_hangs_is_ended_and_started_again(tiny_folder: Path) -> None:
    # any step is too long here, as far as the watchdog sees one
    with service("--workers=2", LLM_MODEL=str(tiny_folder), LLM_MAX_STEP_S="0.0001") as running:
        data = {**DATA, "parameters": {"max_tokens": 4000, "ignore_eos": True}}

        def has_ended() -> bool:
            running.post(data)
            return bool(running.log_lines("the engine ended and is started again"))

        until(has_ended, running)

        assert running.wait_for_log("the engine serves", 2, timeout_s=30)
        (last_words,) = running.log_lines("the process ends")[:1]
        assert last_words["reason"] == "a step of the engine takes longer than 0.0001 s"
        assert running.log_lines("the engine ended and is started again")[0]["exit_status"] == 70


def test_sigterm_lets_the_streams_of_all_workers_end_and_leaves_nothing(temporary: Path) -> None:
    with service("--workers=2", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.03") as running:
        pids = running.child_pids
        assert len(pids) == 3
        (folder,) = temporary.glob(FOLDERS)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "engine1.sock").is_socket()

        async def scenario() -> Counter[str]:
            # the last ones go on long after the first worker has ended
            streams = [Stream(running.url, 100 * n) for n in range(1, 6)]
            for stream in streams:
                await stream.has_begun.wait()
            for pid in (running.process.pid, *pids):  # as a supervisor does that stops a whole group
                os.kill(pid, signal.SIGTERM)
            return Counter(await asyncio.gather(*(stream.end for stream in streams)))

        ends = asyncio.run(scenario())

        assert ends == {"done": 5}
        assert running.process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert list(temporary.iterdir()) == []
    temporary.rmdir()


def test_nothing_is_left_of_a_launcher_that_is_killed(temporary: Path) -> None:
    with service("--workers=2", LLM_BACKEND="scripted") as running:
        pids = running.child_pids
        assert len(pids) == 3
        running.process.kill()

        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), running)
        until(lambda: list(temporary.iterdir()) == [], running)
    temporary.rmdir()


def test_an_engine_that_cannot_start_as_configured_ends_everything_with_one_message(
    tiny_folder: Path,
) -> None:
    settings: dict[str, Any] = {"LLM_MODEL": str(tiny_folder), "LLM_ONNX_PROVIDER": "cuda"}
    with started("--workers=3", "--bind=127.0.0.1:0", CUDA_VISIBLE_DEVICES="", **settings) as running:
        assert running.process.wait(60) == 78
        running._reader.join(5)

    assert running.log.count("cannot start") == 1
    assert "Traceback" not in running.log


def test_an_engine_that_cannot_start_again_ends_everything_with_one_message(
    tiny_folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    with service("--workers=2", LLM_MODEL=str(model)) as running:
        engine_pid = running.engine_pid
        assert engine_pid is not None
        shutil.rmtree(model)
        os.kill(engine_pid, signal.SIGKILL)

        assert running.process.wait(60) == 78
        running._reader.join(5)
    assert running.log.count("cannot start") == 1
    assert "Traceback" not in running.log


def test_an_engine_that_dies_before_it_serves_is_no_success(tiny_folder: Path, tmp_path: Path) -> None:
    # a module that ends the process stands in for what the kernel would do
    (tmp_path / "tokenizers.py").write_text("import os\nos._exit(9)\n")
    with started(
        "--workers=2",
        "--bind=127.0.0.1:0",
        LLM_MODEL=str(tiny_folder),
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    ) as running:
        assert running.process.wait(60) == 1
        assert running.wait_for_log("the engine ended before it served")[0]["exit_status"] == 9
