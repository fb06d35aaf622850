"""The service with the real model, as curl and a node use it."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service_process import ServiceProcess, service

SEED_PAYLOAD = (
    '{"source": 1, "data": {"text": "I am launching a revolutionary product today, buy my shares before they '
    'are gone!", "key": "123", "messageId": "123456", "history": []}}'
)
"""The body of the seed's curl command, word for word."""

DATA: dict[str, Any] = {"key": "1", "messageId": "2", "text": "Name three colours.", "history": []}
LONG = DATA | {"text": "Tell me a very long story.", "parameters": {"max_tokens": 1500, "stop": ["@@"]}}
CLASSIFICATION = (
    '{"mood": {"class": "domain.workflows.classification.ClassificationWorkflow", '
    '"kwargs": {"labels": ["good", "bad"]}}}'
)


@pytest.fixture(scope="module")
def settings(smollm2_folder: Path) -> dict[str, Any]:
    return {
        "LLM_MODEL": str(smollm2_folder),
        "LLM_WORKFLOWS": CLASSIFICATION,
        "LLM_DEFAULT_PARAMETERS": '{"max_tokens": 24}',
    }


@pytest.fixture(scope="module")
def two_workers(settings: dict[str, Any]) -> Iterator[ServiceProcess]:
    with service("--workers=2", bind="0.0.0.0:0", **settings) as running:
        yield running


def test_the_seeds_request_is_answered_by_the_model(two_workers: ServiceProcess) -> None:
    headers = {"Content-Type": "application/json"}
    url = f"{two_workers.url}/service_output"

    response = httpx2.post(url, content=SEED_PAYLOAD, headers=headers, timeout=60)
    again = httpx2.post(url, content=SEED_PAYLOAD, headers=headers, timeout=60)

    assert response.status_code == 200
    assert isinstance(response.json(), str)
    assert response.json()
    assert again.json() == response.json()
    assert response.headers["x-completion-tokens"] == "24"
    assert int(response.headers["x-prompt-tokens"]) > 20


def test_the_answer_is_about_the_question(two_workers: ServiceProcess) -> None:
    question = DATA | {"text": "What is the capital of France? Answer with one word."}

    assert "Paris" in two_workers.post(question).json()


def test_two_workers_serve(two_workers: ServiceProcess) -> None:
    assert len(two_workers.worker_pids) == 2
    assert "Running on http://0.0.0.0:" in two_workers.log


def test_history_and_parameters_change_the_answer(two_workers: ServiceProcess) -> None:
    plain = two_workers.post(DATA).json()
    history = [{"player": "Answer in capitals only."}, {"bot": "RED, GREEN, BLUE."}]
    with_history = two_workers.post(DATA | {"history": history})
    short = two_workers.post(DATA | {"parameters": {"max_tokens": 2}})

    assert with_history.json() != plain
    assert short.headers["x-completion-tokens"] == "2"
    assert plain.startswith(short.json())


def test_a_named_workflow_returns_a_dict_with_probabilities_from_the_logits(
    two_workers: ServiceProcess,
) -> None:
    data = DATA | {"text": "The food was wonderful and I felt great."}

    reply = two_workers.post(data, "/workflows/mood/service_output").json()

    assert set(reply) == {"label", "probabilities"}
    assert reply["label"] == max(reply["probabilities"], key=reply["probabilities"].get)
    assert sum(reply["probabilities"].values()) == pytest.approx(1)


async def test_concurrent_requests_are_answered_as_each_is_alone(two_workers: ServiceProcess) -> None:
    questions = [DATA | {"text": f"Count to {number}."} for number in range(3, 11)]
    alone = [two_workers.post(question).json() for question in questions]

    async with httpx2.AsyncClient(timeout=60) as client:
        payloads = ({"source": 1, "data": question} for question in questions)
        posts = (client.post(f"{two_workers.url}/service_output", json=payload) for payload in payloads)
        together = await asyncio.gather(*posts)

    assert [response.status_code for response in together] == [200] * len(questions)
    assert [response.json() for response in together] == alone


def test_health_answers_while_the_model_works(two_workers: ServiceProcess) -> None:
    with hanging_request(two_workers):
        slowest_s = 0.0
        for _ in range(20):
            started_s = time.monotonic()
            assert httpx2.get(f"{two_workers.url}/health/ready", timeout=5).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - started_s)

    assert slowest_s < 2


def hanging_request(running: ServiceProcess) -> socket.socket:
    """Send a request whose answer takes many seconds; returns the socket, unread."""
    body = httpx2.Request("POST", "http://x/", json={"source": 1, "data": LONG}).content
    host, port = running.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = "POST /service_output HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def test_the_work_for_a_client_that_hangs_up_ends(settings: dict[str, Any]) -> None:
    with service("--workers=1", **settings | {"LLM_MAX_RUNNING_SEQUENCES": "1"}) as running:
        before = running.post(DATA).json()
        with hanging_request(running):
            time.sleep(0.5)
        line = running.wait_for_log("request", 2)[-1]
        started_s = time.monotonic()
        after = running.post(DATA).json()

        assert line["status"] == 499
        assert after == before
        assert time.monotonic() - started_s < 5  # the one slot is free


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_stream_ends_when_its_client_hangs_up(has_begun: bool) -> None:
    one_at_a_time: dict[str, Any] = {
        "LLM_MAX_CONCURRENT_REQUESTS": "1",
        "LLM_SCRIPTED_DELAY_S": "1" if has_begun else "4",
    }
    payload = {"source": 1, "destination": 2, "data": "a b c d e f g h i j k l m n o p q r s t u v w x y z"}
    with service("--workers=1", LLM_BACKEND="scripted", **one_at_a_time) as running:
        url = f"{running.url}/service_output"
        if has_begun:
            with httpx2.stream("POST", url, json=payload, timeout=10) as response:
                pieces = response.iter_bytes()  # held: the connection ends with it
                assert next(pieces) == b"a"
                assert httpx2.post(url, json=payload, timeout=10).status_code == 503
        else:
            with pytest.raises(httpx2.ReadTimeout):
                httpx2.post(url, json=payload, timeout=0.5)
        running.wait_for_log("request", 2 if has_begun else 1)
        after = httpx2.post(url, json={"source": 1, "data": "yes"}, timeout=10)

        assert (after.status_code, after.json()) == (200, "yes")


def test_sigterm_lets_the_answer_under_way_end_and_refuses_new_ones(settings: dict[str, Any]) -> None:
    with service("--workers=1", **settings) as running:
        medium = LONG | {"parameters": {"max_tokens": 150}}
        url = f"{running.url}/service_output"

        async def scenario() -> httpx2.Response:
            async with httpx2.AsyncClient(timeout=60) as client:
                under_way = asyncio.create_task(client.post(url, json={"source": 1, "data": medium}))
                await asyncio.sleep(0.5)
                running.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.5)
                assert not under_way.done()
                with pytest.raises(httpx2.HTTPError):
                    await httpx2.AsyncClient().post(url, json={"source": 1, "data": DATA})
                return await under_way

        response = asyncio.run(scenario())

        assert response.status_code == 200
        assert response.headers["x-completion-tokens"] == "150"
        assert running.process.wait(20) == 0


def test_killed_in_the_middle_it_starts_again_as_before(settings: dict[str, Any]) -> None:
    with service("--workers=1", **settings) as running:
        before = running.post(DATA).json()
        hanging_request(running).close()
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
    with service("--workers=1", **settings) as running:
        assert running.post(DATA).json() == before


def test_the_workers_of_a_launcher_that_is_killed_end_too() -> None:
    with service("--workers=2", LLM_BACKEND="scripted") as running:
        worker_pids = running.worker_pids
        running.process.kill()
        deadline_s = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in worker_pids):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(running.url)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_worker_that_dies_is_replaced(num_workers: int) -> None:
    with service(f"--workers={num_workers}", LLM_BACKEND="scripted") as running:
        before = running.worker_pids
        os.kill(before[0], signal.SIGKILL)
        running.wait_for_log("a worker ended and is replaced")
        running.wait_until_ready()

        assert running.post(DATA | {"text": "yes"}).json() == "yes"
        assert len(running.worker_pids) == num_workers
        assert before[0] not in running.worker_pids
        assert running.stop() == 0


def test_workers_that_die_again_and_again_end_the_service_with_a_status_that_says_so() -> None:
    with service("--workers=1", LLM_BACKEND="scripted") as running:
        deadline_s = time.monotonic() + 60
        while running.process.poll() is None and time.monotonic() < deadline_s:
            for pid in running.worker_pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

        assert running.process.returncode not in {None, 0, 78}


def test_signals_at_once_stop_the_service_as_one_does() -> None:
    with service("--workers=2", LLM_BACKEND="scripted") as running:
        for _ in range(200):
            os.killpg(running.process.pid, signal.SIGTERM)

        assert running.process.wait(20) == 0


def test_no_text_of_a_caller_is_in_the_log(two_workers: ServiceProcess) -> None:
    two_workers.post(DATA | {"text": "xylophone", "key": "k-1234567"})
    two_workers.post(DATA | {"history": [{"bot": "quagmire"}], "parameters": {"stop": ["zeppelin"]}})
    two_workers.post(DATA | {"history": "wombat"})
    time.sleep(0.2)

    for word in ("xylophone", "k-1234567", "quagmire", "zeppelin", "wombat"):
        assert word not in two_workers.log
    line = two_workers.wait_for_log("request")[-1]
    assert {"request_id", "duration_ms", "status", "route"} <= set(line)
