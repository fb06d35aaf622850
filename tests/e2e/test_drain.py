"""SIGTERM: who is answered, who is told to go elsewhere, and how soon it is over."""

import json
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.drain import stop_under_load
from tests.service_process import ServiceProcess, service


@pytest.mark.parametrize("seed", range(3))
def test_no_request_is_lost_when_workers_are_stopped_under_load(seed: int) -> None:
    figures = stop_under_load(seed)

    assert figures.num_under_way > 0
    assert figures.problems == []


def test_what_takes_longer_than_the_grace_time_is_told_so() -> None:
    payload = {"source": 1, "data": "a b c d e f g h i j k l m n o p q r s t u v w x y z"}
    answers: dict[str, httpx2.Response] = {}
    with service(
        "--workers=2", "--graceful-timeout=20", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="1"
    ) as running:

        def ask(name: str, path: str, body: object) -> None:
            answers[name] = httpx2.post(f"{running.url}{path}", json=body, timeout=40)

        chat = {"model": "scripted", "messages": [{"role": "user", "content": payload["data"]}]}
        asked = {
            "whole": ("/service_output", payload),
            "stream": ("/service_output", payload | {"destination": 2}),
            "events": ("/v1/chat/completions", chat | {"stream": True}),
        }
        threads = [threading.Thread(target=ask, args=(name, *what)) for name, what in asked.items()]
        for thread in threads:
            thread.start()
        time.sleep(1)
        stopped_s = time.monotonic()
        status = running.stop()
        took_s = time.monotonic() - stopped_s
        for thread in threads:
            thread.join()

    assert (status, took_s < 20) == (0, True)
    assert answers["whole"].status_code == 503
    assert "[stream broken off]" in answers["stream"].text
    assert json.loads(answers["events"].text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]


def test_a_connection_that_stays_open_gets_its_last_answer_with_connection_close() -> None:
    with service("--workers=1", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.3") as running:
        with httpx2.Client(base_url=running.url) as client:
            before = client.get("/health")
            under_way = threading.Thread(target=running.post, args=("a b c d e f",))
            under_way.start()
            time.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            is_ready = client.get("/health/ready")
            with pytest.raises(httpx2.ConnectError):
                client.get("/health")
            under_way.join()

        assert "connection" not in before.headers
        assert (is_ready.status_code, is_ready.headers["connection"]) == (503, "close")
        assert running.stop() == 0


def test_a_connection_whose_answer_began_before_the_stop_is_open_for_another_request() -> None:
    with service("--workers=1", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.3") as running:
        with httpx2.Client(base_url=running.url, timeout=20) as client:
            payload = {"source": 1, "destination": 2, "data": "a b c d e f g h i j k l"}
            with client.stream("POST", "/service_output", json=payload) as stream:
                running.process.send_signal(signal.SIGTERM)
                text = "".join(stream.iter_text())
            after = client.get("/health/ready")

            assert "connection" not in stream.headers
            assert text == payload["data"]
            assert after.headers["connection"] == "close"
            assert after.extensions["network_stream"] is stream.extensions["network_stream"]

        assert running.stop() == 0


def test_waiting_for_a_job_ends_with_the_service() -> None:
    with service("--workers=1", LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="2") as running:
        job = running.post("a b c d e f g h", headers={"Prefer": "respond-async"}).json()
        statuses: list[str] = []
        waiting = threading.Thread(
            target=lambda: statuses.append(
                httpx2.get(f"{running.url}/jobs/{job['id']}?wait=60", timeout=70).json()["status"]
            )
        )
        waiting.start()
        time.sleep(0.5)
        stopped_s = time.monotonic()

        assert running.stop() == 0
        assert time.monotonic() - stopped_s < 5
        waiting.join()
        assert statuses == ["running"]


def test_connections_that_their_clients_closed_are_let_go_of() -> None:
    with service("--workers=1", LLM_BACKEND="scripted") as running:
        before = num_sockets(running)
        for _ in range(30):
            assert httpx2.get(f"{running.url}/health").status_code == 200
        deadline_s = time.monotonic() + 5
        while num_sockets(running) > before + 2 and time.monotonic() < deadline_s:
            time.sleep(0.05)

        assert num_sockets(running) <= before + 2


def num_sockets(running: ServiceProcess) -> int:
    count = 0
    for link in Path(f"/proc/{running.worker_pids[0]}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            count += str(link.readlink()).startswith("socket:")
    return count
