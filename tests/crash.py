"""Kills the whole service again and again while it works, and checks that nothing is lost or done twice.

Requests of four kinds come from several callers, who try again until they have an answer: keyed and waiting,
accepted for later, and both with proofs. The kills (SIGKILL to every process of the service) come at random
moments. Afterwards the journal's file is read as it is.
"""

import json
import os
import random
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.service_process import ServiceProcess, started

NUM_CALLERS = 6
LEASE_S = 2.0
DRAIN_TIMEOUT_S = 120.0
VECTOR_SIZE = 16
KINDS = ("sync", "async", "sync proof", "async proof")
SUMMARIZER = "/workflows/summarizer/service_output"


@dataclass
class Figures:
    """What happened."""

    num_kills: int = 0
    num_kills_with_jobs_running: int = 0
    num_kills_with_proofs_running: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By kind of request."""
    num_accepted: int = 0
    num_rows: int = 0
    max_attempts: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Request:
    number: int
    kind: str

    @property
    def is_proof(self) -> bool:
        return self.kind.endswith("proof")

    @property
    def text(self) -> str:
        return f"message {self.number}"

    @property
    def payload(self) -> dict[str, Any]:
        if self.is_proof:
            # every third proof is asked for twice
            vector = [(self.number // 3 * 7 + i) % 13 * 10**17 for i in range(VECTOR_SIZE)]
            return {"source": 1, "requires_proof": True, "data": {"vector": vector}}
        return {"source": 1, "data": self.text}

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.is_proof else {"Idempotency-Key": f"key {self.number}"}
        return headers | ({"Prefer": "respond-async"} if self.kind.startswith("async") else {})


class CrashRun:
    """One run.

    Args:
        folder: for the journal.
        circuit: of reals, with ``VECTOR_SIZE`` inputs.
        seed: of kinds and moments.
    """

    def __init__(self, folder: Path, circuit: Path, seed: int) -> None:
        self._journal = folder / "journal.sqlite3"
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self._port = int(free.getsockname()[1])
        self._settings: dict[str, Any] = {
            "LLM_BACKEND": "scripted",
            "LLM_SCRIPTED_DELAY_S": "0.03",
            "LLM_JOURNAL": "sqlite",
            "LLM_JOURNAL_PATH": str(self._journal),
            "LLM_JOB_LEASE_S": str(LEASE_S),
            "LLM_CIRCUIT": str(circuit),
            "LLM_WORKFLOWS": '{"summarizer": "domain.workflows.summarizer.SummarizerWorkflow"}',
        }
        self._url = f"http://127.0.0.1:{self._port}"
        self._job_ids: dict[int, str] = {}
        self.figures = Figures()

    def run(self, num_kills: int, num_requests: int) -> Figures:
        """Send the requests, kill, and check."""
        requests = [_Request(number, self._random.choice(KINDS)) for number in range(num_requests)]
        with ThreadPoolExecutor(NUM_CALLERS) as callers:
            answers = [callers.submit(self._answered, request) for request in requests]
            for _ in range(num_kills):
                with self._service() as running:
                    time.sleep(self._random.uniform(0.02, 0.8))
                    self._kill(running)
            with self._service() as running:
                outputs = {
                    request.number: answer.result() for request, answer in zip(requests, answers, strict=True)
                }
                self._drain(requests, outputs)
                running.stop()
        self._check_file()
        return self.figures

    @contextmanager
    def _service(self) -> Iterator[ServiceProcess]:
        with started(f"--bind=127.0.0.1:{self._port}", **self._settings) as running:
            running.wait_until_ready()
            yield running

    def _kill(self, running: ServiceProcess) -> None:
        self.figures.num_kills += 1
        with suppress_missing(), closing(self._read()) as journal:
            rows = journal.execute("SELECT workflow FROM jobs WHERE state = 'running'").fetchall()
            self.figures.num_kills_with_jobs_running += bool(rows)
            self.figures.num_kills_with_proofs_running += ("summarizer",) in rows
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()

    def _answered(self, request: _Request) -> Any:
        """Ask until there is an answer; returns the output, or None for a job that was accepted."""
        path = SUMMARIZER if request.is_proof else "/service_output"
        while True:
            try:
                response = httpx2.post(
                    f"{self._url}{path}", json=request.payload, headers=request.headers, timeout=30
                )
            except httpx2.HTTPError:
                time.sleep(0.05)
                continue
            if response.status_code == 202:
                self.figures.num_accepted += 1
                self._job_ids[request.number] = response.json()["id"]
                return None
            if response.status_code == 200:
                self.figures.answers[request.kind] += 1
                return response.json()
            if response.status_code not in {409, 503}:
                self._problem(f"{request} was answered {response.status_code}: {response.text[:200]}")
                return None
            time.sleep(0.05)

    def _drain(self, requests: list[_Request], outputs: dict[int, Any]) -> None:
        """Wait for the accepted jobs, and check every answer."""
        proofs: dict[str, Any] = {}
        for request in requests:
            output = outputs[request.number]
            if request.number in self._job_ids:
                job = httpx2.get(
                    f"{self._url}/jobs/{self._job_ids[request.number]}", params={"wait": 60}, timeout=90
                ).json()
                if job.get("status") != "succeeded":
                    self._problem(f"the accepted {request} is {job}")
                    continue
                self.figures.answers[request.kind] += 1
                output = job["result"]
            if request.is_proof:
                asked = json.dumps(request.payload)
                if output != proofs.setdefault(asked, output):
                    self._problem(f"{request} has two proofs")
            elif output != request.text:
                self._problem(f"{request} has the answer {output!r}")
        deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
        while self._num_unfinished():
            if time.monotonic() > deadline_s:
                self._problem("jobs are left unfinished")
                return
            time.sleep(0.2)

    def _num_unfinished(self) -> int:
        with closing(self._read()) as journal:
            (number,) = journal.execute(
                "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
            ).fetchone()
            return int(number)

    def _check_file(self) -> None:
        with closing(self._read()) as journal:
            (integrity,) = journal.execute("PRAGMA integrity_check").fetchone()
            if integrity != "ok":
                self._problem(f"the journal is damaged: {integrity}")
            for key, number in journal.execute(
                "SELECT key, count(*) FROM jobs WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1"
            ):
                self._problem(f"the key {key} has {number} results")
            for job_id, state, outcome in journal.execute("SELECT job_id, state, outcome FROM jobs"):
                if state != "succeeded" or json.loads(outcome)["reply"] is None:
                    self._problem(f"the job {job_id} is {state}: {outcome}")
            self.figures.num_rows, self.figures.max_attempts = journal.execute(
                "SELECT count(*), max(num_attempts) FROM jobs"
            ).fetchone()

    def _read(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True, timeout=10)

    def _problem(self, text: str) -> None:
        self.figures.problems.append(text)


@contextmanager
def suppress_missing() -> Iterator[None]:
    """Pass over a journal that is not there yet."""
    try:
        yield
    except sqlite3.OperationalError:
        return
