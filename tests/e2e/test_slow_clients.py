"""Clients that send slowly, or only hold a connection: what they get, and that the others are served."""

import asyncio
import json
import socket
import struct
import threading
import time
from typing import Any

import httpx2
from bench.slow_clients import BODY_HEAD, HEAD, send_slowly

from tests.service_process import ServiceProcess, service

LIMITS: dict[str, Any] = {"LLM_BACKEND": "scripted", "LLM_HEADER_TIMEOUT_S": "1", "LLM_BODY_TIMEOUT_S": "1"}


def test_who_sends_a_byte_at_a_time_gets_408_and_the_others_are_answered() -> None:
    with service("--workers=1", **LIMITS) as running:
        port = port_of(running)

        async def scenario() -> tuple[list[bytes], list[int]]:
            slow = [
                asyncio.create_task(send_slowly(port, HEAD + b"X-Slow: " if n % 2 else BODY_HEAD, 0.2))
                for n in range(200)
            ]
            statuses = []
            async with httpx2.AsyncClient(timeout=10) as client:
                while not all(task.done() for task in slow):
                    payload = {"source": 1, "data": "yes"}
                    response = await client.post(f"{running.url}/service_output", json=payload)
                    statuses.append(response.status_code)
                    await asyncio.sleep(0.05)
            return [await task for task in slow], statuses

        answers, statuses = asyncio.run(scenario())

    assert set(statuses) == {200}
    assert {answer.partition(b"\r\n")[0].split()[1] for answer in answers} == {b"408"}
    head, _, body = answers[1].partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "408"


def test_who_says_nothing_is_closed_and_who_has_been_served_may_come_again_later() -> None:
    with service("--workers=1", **LIMITS) as running, httpx2.Client(base_url=running.url) as client:
        assert client.get("/health").status_code == 200
        with connected(running) as silent:
            began_s = time.monotonic()
            assert silent.recv(100) == b""
            assert time.monotonic() - began_s > 0.9
        time.sleep(0.5)
        connection_before = client.get("/health").extensions["network_stream"].get_extra_info("socket")
        time.sleep(1.5)  # longer than headers may take
        connection_after = client.get("/health").extensions["network_stream"].get_extra_info("socket")

        assert connection_after is connection_before


def test_an_idle_connection_makes_room_and_one_at_work_does_not() -> None:
    settings: dict[str, Any] = {
        "LLM_BACKEND": "scripted",
        "LLM_SCRIPTED_DELAY_S": "0.3",
        "LLM_MAX_CONNECTIONS": "3",
    }
    with service("--workers=1", **settings) as running:
        idle = [connected(running) for _ in range(3)]
        time.sleep(0.2)
        statuses: list[int] = []
        asking = [
            threading.Thread(target=lambda: statuses.append(running.post("a b c d e f").status_code))
            for _ in range(3)
        ]
        for thread in asking:
            thread.start()
        time.sleep(0.7)
        refused = httpx2.get(f"{running.url}/health")
        for thread in asking:
            thread.join()
        for connection in idle:
            connection.close()

        assert statuses == [200, 200, 200]
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert httpx2.get(f"{running.url}/health").status_code == 200


def connected(running: ServiceProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(running)), timeout=10)


def port_of(running: ServiceProcess) -> int:
    return int(running.url.rpartition(":")[2])


def test_who_breaks_off_in_the_middle_leaves_no_error_in_the_log() -> None:
    with service("--workers=1", **LIMITS) as running:
        for number in range(40):
            with connected(running) as rude:
                rude.sendall(BODY_HEAD if number % 2 else HEAD)
                if number % 4 > 1:  # reset rather than closed
                    rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.5)
        assert httpx2.get(f"{running.url}/health").status_code == 200

        assert running.stop() == 0
        assert "Traceback" not in running.log
