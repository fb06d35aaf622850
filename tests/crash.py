"""Kills the whole service again and again while it works, and checks that nothing is lost or done twice.

Requests of four kinds come from several callers, who try again until they have an answer: keyed and waiting,
accepted for later, and both with proofs; some hang up first. The kills (SIGKILL to every process of the
service) come at random moments, as soon as the journal's log changes (a commit is under way: it is synced
after it is written), and while a proof is made. Afterwards the journal's file is read as it is, and compared
with what the callers got.
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.service_process import ServiceProcess, started

NUM_CALLERS = 6
LEASE_S = 2.0
DRAIN_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 600.0
MOMENT_TIMEOUT_S = 3.0
HANG_UP_S = (0.002, 0.02)
SHARE_OF_HANG_UPS = 0.4
VECTOR_SIZE = 16
KINDS = ("sync", "async", "sync proof", "async proof")
MOMENTS = ("at random", "at a commit", "while proving")
SUMMARIZER = "/workflows/summarizer/service_output"


@dataclass
class Figures:
    """What happened."""

    num_kills: int = 0
    num_kills_with_jobs_running: int = 0
    num_kills_with_proofs_running: int = 0
    num_kills_at_a_commit: int = 0
    num_hang_ups: int = 0
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
    hang_ups_s: tuple[float, ...]
    """After how long its caller goes, again and again, before one waits."""

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
            vector = [(self.number // 3 * 7 + i) % 101 * 10**16 for i in range(VECTOR_SIZE)]
            return {"source": 1, "requires_proof": True, "data": {"vector": vector}}
        return {"source": 1, "data": self.text}

    @property
    def subject(self) -> str:
        """What is asked: requests with the same are one job."""
        return json.dumps(self.payload["data"])

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
        self._log = folder / "journal.sqlite3-wal"
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self._port = int(free.getsockname()[1])
        self._settings: dict[str, Any] = {
            "LLM_BACKEND": "scripted",
            "LLM_SCRIPTED_DELAY_S": "0.03",
            "LLM_JOURNAL": "sqlite",
            "LLM_JOURNAL_PATH": str(self._journal),
            "LLM_JOURNAL_KEEPS_INPUT": "true",
            "LLM_JOB_LEASE_S": str(LEASE_S),
            "LLM_CIRCUIT": str(circuit),
            "LLM_WORKFLOWS": '{"summarizer": "domain.workflows.summarizer.SummarizerWorkflow"}',
        }
        self._url = f"http://127.0.0.1:{self._port}"
        self._job_ids: dict[int, str] = {}
        self.figures = Figures()

    def run(self, num_kills: int, num_requests: int) -> Figures:
        """Send the requests, kill, and check."""
        requests = [self._request(number) for number in range(num_requests)]
        answers: dict[int, Future[Any]] = {}
        with ThreadPoolExecutor(NUM_CALLERS) as callers:
            for kill in range(num_kills):
                with self._service() as running:
                    for request in requests[kill::num_kills]:
                        answers[request.number] = callers.submit(self._answered, request)
                    self._await(MOMENTS[kill % len(MOMENTS)])
                    self._kill(running)
            with self._service() as running:
                outputs = {number: answer.result() for number, answer in answers.items()}
                self._drain(requests, outputs)
                running.stop()
        self._check_file(requests, outputs)
        self._check_kills()
        return self.figures

    def _request(self, number: int) -> _Request:
        hangs_up = self._random.random() < SHARE_OF_HANG_UPS
        hang_ups_s = tuple(self._random.uniform(*HANG_UP_S) for _ in range(3 if hangs_up else 0))
        return _Request(number, self._random.choice(KINDS), hang_ups_s)

    @contextmanager
    def _service(self) -> Iterator[ServiceProcess]:
        with started(f"--bind=127.0.0.1:{self._port}", **self._settings) as running:
            running.wait_until_ready()
            yield running

    def _await(self, moment: str) -> None:
        deadline_s = time.monotonic() + MOMENT_TIMEOUT_S
        time.sleep(self._random.uniform(0.02, 0.8))
        if moment == "at a commit":
            before = self._log_state()
            while self._log_state() == before:
                if time.monotonic() > deadline_s:
                    return
            self.figures.num_kills_at_a_commit += 1
        elif moment == "while proving":
            while "summarizer" not in self._running() and time.monotonic() < deadline_s:
                time.sleep(0.01)
        if moment != "at a commit":
            running = self._running()
            self.figures.num_kills_with_jobs_running += bool(running)
            self.figures.num_kills_with_proofs_running += "summarizer" in running

    def _kill(self, running: ServiceProcess) -> None:
        self.figures.num_kills += 1
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()

    def _log_state(self) -> tuple[int, int]:
        try:
            state = self._log.stat()
        except FileNotFoundError:
            return 0, 0
        return state.st_size, state.st_mtime_ns

    def _running(self) -> set[str]:
        """Return the workflows of jobs that are run now: what was killed before has an older lease."""
        with suppress_missing(), closing(self._read()) as journal:
            rows = journal.execute(
                "SELECT workflow FROM jobs WHERE state = 'running' AND lease_until_s > ?",
                (time.time() + LEASE_S / 2,),
            )
            return {workflow for (workflow,) in rows}
        return set()

    def _answered(self, request: _Request) -> Any:
        """Ask until there is an answer; returns the output, or None for a job that was accepted."""
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        for hang_up_s in request.hang_ups_s:
            try:
                self._post(request, hang_up_s)
            except httpx2.HTTPError as error:
                self.figures.num_hang_ups += isinstance(error, httpx2.ReadTimeout)
        while time.monotonic() < deadline_s:
            try:
                response = self._post(request, 30)
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
        self._problem(f"{request} was never answered")
        return None

    def _post(self, request: _Request, timeout_s: float) -> httpx2.Response:
        path = SUMMARIZER if request.is_proof else "/service_output"
        return httpx2.post(
            f"{self._url}{path}", json=request.payload, headers=request.headers, timeout=timeout_s
        )

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
                output = outputs[request.number] = job["result"]
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

    def _check_kills(self) -> None:
        figures = self.figures
        if not (figures.num_kills_with_jobs_running and figures.num_kills_at_a_commit):
            self._problem("no kill came while jobs were running, or at a commit")
        if not figures.num_kills_with_proofs_running:
            self._problem("no kill came while a proof was made")
        if not figures.num_hang_ups:
            self._problem("no caller hung up")

    def _check_file(self, requests: list[_Request], outputs: dict[int, Any]) -> None:
        stored: dict[str, Any] = {}
        with closing(self._read()) as journal:
            (integrity,) = journal.execute("PRAGMA integrity_check").fetchone()
            if integrity != "ok":
                self._problem(f"the journal is damaged: {integrity}")
            for digest, number in journal.execute(
                "SELECT digest, count(*) FROM jobs GROUP BY digest HAVING count(*) > 1"
            ):
                self._problem(f"the request {digest} has {number} jobs")
            rows = journal.execute("SELECT job_id, state, payload, outcome FROM jobs")
            for job_id, state, payload, outcome in rows:
                if state != "succeeded":
                    self._problem(f"the job {job_id} is {state}: {outcome}")
                    continue
                stored[json.dumps(json.loads(payload)["data"])] = json.loads(outcome)["reply"]["output"]
            self.figures.num_rows, self.figures.max_attempts = journal.execute(
                "SELECT count(*), max(num_attempts) FROM jobs"
            ).fetchone()
        num_subjects = len({request.subject for request in requests})
        if self.figures.num_rows != num_subjects:
            self._problem(f"{num_subjects} things were asked, and there are {self.figures.num_rows} jobs")
        for request in requests:
            if stored.get(request.subject) != outputs[request.number]:
                self._problem(f"the caller of {request} got another answer than is stored")

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
