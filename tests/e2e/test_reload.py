"""SIGHUP: other processes take the place of those that serve, and no request notices."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_metrics import scrape
from tests.service_process import ServiceProcess, service

RELOADED = "the service is reloaded"
RETIRED = "the last worker of before the reload has ended"
FAILED = "the reload failed; the service goes on as it was"
RELOAD_S = 90
NUM_CALLERS = 8
DATA: dict[str, Any] = {"key": "1", "messageId": "2", "text": "hi", "history": []}
WORKFLOW = """
from domain.workflow import LLMInferenceWorkflow

class Stamped(LLMInferenceWorkflow):
    def postprocess(self, generation, request):
        return "{stamp}"
"""


@dataclass
class Answers:
    """What callers were told, in the order of the telling."""

    told: list[tuple[float, object]] = field(default_factory=list)

    def since(self, time_s: float) -> set[object]:
        return {answer for told_s, answer in self.told if told_s >= time_s}


def write_settings(folder: Path, **settings: str) -> None:
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (folder / ".env").write_text("".join(lines), encoding="utf-8")


def reload(running: ServiceProcess) -> None:
    """Have it reloaded, and wait until the new workers serve alone."""
    count = len(running.log_lines(RELOADED)) + 1
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_log(RELOADED, count, RELOAD_S)
    running.wait_for_log(RETIRED, count, RELOAD_S)


@contextmanager
def callers(running: ServiceProcess) -> Iterator[Answers]:
    """Keep asking, over connections that stay open, until the block ends."""
    answers, is_over = Answers(), threading.Event()

    def keep_asking() -> None:
        with httpx2.Client(base_url=running.url, timeout=60) as client:
            while not is_over.is_set():
                try:
                    response = client.post("/service_output", json={"source": 1, "data": DATA})
                    answer: object = response.json() if response.status_code == 200 else response.text
                except httpx2.HTTPError as error:
                    answer = repr(error)
                answers.told.append((time.monotonic(), answer))

    threads = [threading.Thread(target=keep_asking) for _ in range(NUM_CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def until_answered(answers: Answers, num_answers: int) -> None:
    wanted = len(answers.told) + num_answers
    deadline_s = time.monotonic() + 60
    while len(answers.told) < wanted:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_no_request_fails_while_the_service_is_reloaded_under_load(num_workers: int, tmp_path: Path) -> None:
    old = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "old", "LLM_SCRIPTED_DELAY_S": "0.02"}
    write_settings(tmp_path, **old)
    with service(f"--workers={num_workers}", cwd=tmp_path) as running, callers(running) as answers:
        pids = set(running.child_pids)
        for stamp in ("new", "newer"):
            until_answered(answers, 40)
            write_settings(tmp_path, **old | {"LLM_SCRIPTED_REPLY": stamp})
            reload(running)
            reloaded_s = time.monotonic()
            until_answered(answers, 40)
            # one that was under way is told of late
            assert stamp in answers.since(reloaded_s) <= {stamp}
        assert len(running.child_pids) == len(pids)
        assert pids.isdisjoint(running.child_pids)

    assert answers.since(0) == {"old", "new", "newer"}


def test_an_edited_workflow_is_read_again(tmp_path: Path) -> None:
    module = tmp_path / "stamped.py"
    module.write_text(WORKFLOW.format(stamp="first"), encoding="utf-8")
    write_settings(tmp_path, LLM_BACKEND="scripted", FLASK_LLM_WORKFLOW_CLASS="stamped.Stamped")
    with service(cwd=tmp_path) as running, callers(running) as answers:
        until_answered(answers, 20)
        module.write_text(WORKFLOW.format(stamp="the second"), encoding="utf-8")
        reload(running)
        until_answered(answers, 20)
        assert running.post(DATA).json() == "the second"

    assert answers.since(0) == {"first", "the second"}


@pytest.mark.timeout(300)
def test_a_configuration_that_cannot_work_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    old = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "old"}
    write_settings(tmp_path, **old)
    (tmp_path / "broken.py").write_text("class Broken(:\n", encoding="utf-8")
    broken = [
        ({"LLM_MAX_BODY_BYTES": "many"}, "LLM_MAX_BODY_BYTES"),
        ({"LLM_ADMIN_BIND": "127.0.0.1:9"}, "LLM_ADMIN_BIND"),
        ({"FLASK_LLM_WORKFLOW_CLASS": "broken.Broken"}, "SyntaxError"),
        ({"LLM_BACKEND": "onnxruntime", "LLM_MODEL": str(tmp_path / "no-model")}, "no-model"),
    ]
    with service("--workers=2", cwd=tmp_path) as running, callers(running) as answers:
        pids = set(running.worker_pids)
        for count, (change, reason) in enumerate(broken, 1):
            write_settings(tmp_path, **old | change)
            running.process.send_signal(signal.SIGHUP)
            told = running.wait_for_log(FAILED, count, RELOAD_S)
            assert reason in told[-1]["reason"]
            assert len(told) == count
            until_answered(answers, 20)
        assert pids <= set(running.child_pids)
        assert "cannot start" not in running.log
        assert not running.log_lines(RELOADED)

        write_settings(tmp_path, **old | {"LLM_SCRIPTED_REPLY": "mended"})
        reload(running)
        assert running.post(DATA).json() == "mended"

    assert answers.since(0) == {"old", "mended"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_another_model_takes_the_place_of_the_one_served(
    num_workers: int, tiny_folder: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        shutil.copytree(tiny_folder, folder)
    parameters = '{"max_tokens": 8, "ignore_eos": true}'
    write_settings(tmp_path, LLM_MODEL=str(folders[0]), LLM_DEFAULT_PARAMETERS=parameters)
    with service(f"--workers={num_workers}", cwd=tmp_path) as running, callers(running) as answers:
        until_answered(answers, 20)
        before = scrape(running)
        assert running.post(DATA).headers["x-model-id"] == "one"
        write_settings(tmp_path, LLM_MODEL=str(folders[1]), LLM_DEFAULT_PARAMETERS=parameters)
        reload(running)
        assert running.post(DATA).headers["x-model-id"] == "two"
        until_answered(answers, 20)
        after = scrape(running)

    assert len(answers.since(0)) == 1  # the weights are the same
    asked = "http_requests_total{method=POST,route=/service_output,status=200}"
    assert after[asked] > before[asked] > 0


def test_what_is_under_way_ends_as_it_began(tmp_path: Path) -> None:
    old = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "a b c d e f g h i j k l"}
    write_settings(tmp_path, **old, LLM_SCRIPTED_DELAY_S="0.5")
    texts: dict[str, str] = {}
    with service(cwd=tmp_path) as running:

        def ask(name: str, destination: int) -> None:
            payload = {"source": 1, "destination": destination, "data": DATA}
            texts[name] = httpx2.post(f"{running.url}/service_output", json=payload, timeout=60).text

        threads = [threading.Thread(target=ask, args=each) for each in (("whole", 1), ("stream", 2))]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="new")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log(RELOADED, 1, RELOAD_S)
        time.sleep(1)  # an old worker looks every 0.1 s whether it is retired
        assert running.post(DATA).json() == "new"
        for thread in threads:
            thread.join()
        running.wait_for_log(RETIRED, 1, RELOAD_S)

    assert texts == {"whole": f'"{old["LLM_SCRIPTED_REPLY"]}"', "stream": old["LLM_SCRIPTED_REPLY"]}


@pytest.mark.parametrize("journal", ["sqlite", "memory"])
def test_jobs_that_were_accepted_are_done_by_those_who_accepted_them(journal: str, tmp_path: Path) -> None:
    old = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "a b c", "LLM_MAX_RUNNING_JOBS": "1"}
    write_settings(tmp_path, **old, LLM_SCRIPTED_DELAY_S="0.3")
    store: dict[str, Any] = {"LLM_JOURNAL": journal, "LLM_JOURNAL_PATH": str(tmp_path / "journal.sqlite3")}
    with service(cwd=tmp_path, **store) as running:
        posted = [running.post(DATA, headers={"prefer": "respond-async"}) for _ in range(3)]
        assert {response.status_code for response in posted} == {202}
        # another model's id makes it another workflow's identity
        (tmp_path / "other.py").write_text(WORKFLOW.format(stamp="other"), encoding="utf-8")
        write_settings(tmp_path, LLM_BACKEND="scripted", FLASK_LLM_WORKFLOW_CLASS="other.Stamped")
        reload(running)

        done = running.wait_for_log("job", 3)
        assert {line["job_id"] for line in done} == {response.json()["id"] for response in posted}
        assert {line["state"] for line in done} == {"succeeded"}
        if journal == "sqlite":
            job = httpx2.get(f"{running.url}/jobs/{posted[-1].json()['id']}", timeout=10).json()
            assert job["result"] == "a b c"
        assert running.post(DATA).json() == "other"


def test_a_service_that_is_stopped_waits_no_longer_for_retired_workers_than_for_others(
    tmp_path: Path,
) -> None:
    slow = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "a " * 200, "LLM_SCRIPTED_DELAY_S": "0.5"}
    write_settings(tmp_path, **slow)
    answers: list[httpx2.Response] = []
    with service("--graceful-timeout=5", cwd=tmp_path) as running:

        def ask() -> None:
            answers.append(running.post(DATA))

        caller = threading.Thread(target=ask)
        caller.start()
        time.sleep(0.5)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for_log(RELOADED, 1, RELOAD_S)
        time.sleep(1)
        assert caller.is_alive()
        began_s = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began_s < 15
        caller.join()

    assert [answer.status_code for answer in answers] == [503]


def test_a_hangup_of_the_terminal_is_a_reload_and_ends_nobody(tmp_path: Path) -> None:
    write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="old")
    with service("--workers=2", cwd=tmp_path) as running:
        write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="new")
        os.killpg(running.process.pid, signal.SIGHUP)
        running.wait_for_log(RELOADED, 1, RELOAD_S)
        running.wait_for_log(RETIRED, 1, RELOAD_S)

        assert running.post(DATA).json() == "new"
        assert not running.log_lines("a worker ended and is replaced")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_hangups_while_processes_start_end_none_of_them(tmp_path: Path, num_workers: int) -> None:
    write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="old")
    with service(f"--workers={num_workers}", cwd=tmp_path) as running:
        write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="new")
        while not running.log_lines(RELOADED):
            os.killpg(running.process.pid, signal.SIGHUP)
            time.sleep(0.05)
            assert not running.log_lines(FAILED)
        running.wait_for_log(RETIRED, 1, RELOAD_S)  # until then an old worker may answer too

        assert running.post(DATA).json() == "new"
        assert not running.log_lines("a worker ended and is replaced")
        assert not running.log_lines("the engine ended and is started again")


def test_a_worker_that_dies_after_a_reload_is_replaced(tmp_path: Path) -> None:
    write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="old")
    with service(cwd=tmp_path) as running:
        write_settings(tmp_path, LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="new")
        reload(running)
        (pid,) = running.worker_pids
        os.kill(pid, signal.SIGKILL)
        running.wait_for_log("a worker ended and is replaced")

        assert running.post(DATA).json() == "new"


@pytest.mark.parametrize("change", [{"LLM_SCRIPTED_REPLY": "new"}, {"LLM_MAX_BODY_BYTES": "many"}])
def test_processes_that_die_are_replaced_by_others_with_the_settings_that_are_served(
    change: dict[str, str], tmp_path: Path
) -> None:
    old = {"LLM_BACKEND": "scripted", "LLM_SCRIPTED_REPLY": "old"}
    write_settings(tmp_path, **old)
    with service("--workers=2", cwd=tmp_path) as running:
        write_settings(tmp_path, **old | change)
        for pid in running.child_pids:
            os.kill(pid, signal.SIGKILL)
        running.wait_for_log("a worker ended and is replaced", 2)
        running.wait_for_log("the engine serves", 2)

        assert running.post(DATA).json() == "old"
        assert not running.log_lines(RELOADED)


def test_without_worker_processes_a_hangup_is_ignored() -> None:
    with service("--workers=0", LLM_BACKEND="scripted", LLM_SCRIPTED_REPLY="old") as running:
        running.process.send_signal(signal.SIGHUP)

        assert running.post(DATA).json() == "old"
        assert running.stop() == 0
