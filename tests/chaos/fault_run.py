"""Serves callers for a while, injects faults meanwhile, and checks that nothing is lost or wrong.

The callers ask in every way (``callers``); rude clients come beside them (``rude_clients``). The engine, the
workers and the provers are killed at random, the engine is stopped for longer than its watchdog allows, many
more requests than usual come at once, and the whole service is stopped and started again.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
from bench.server_process import free_port, size_bytes

from tests.chaos.callers import ANSWER_TIMEOUT_S, Asking, Ended, Expected, Outcome
from tests.chaos.rude_clients import RudeClient
from tests.service_process import ServiceProcess, children_of, started

NUM_CALLERS = 10
NUM_RUDE = 4
BURST = 150
MAX_STEP_S = 2.0
GRACE_S = 10
BREAK_S = 3.0
"""A connection may break off this long after its worker was killed: until the kernel and the client know."""
FAULT_PAUSE_S = 1.0, 3.0
QUIET_S = 1.0
NUM_KEPT = 64
"""Connections that two workers keep to their engine, after a burst."""
GROWTH = 1.25
"""Memory of a quiet service after the run, over that before it."""


@dataclass
class Figures:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By kind of request and outcome."""
    faults: Counter[str] = field(default_factory=Counter)
    num_rude: int = 0
    num_lost: int = 0
    num_wrong: int = 0
    longest_stall_s: float = 0.0
    """In which no request of anybody's was answered."""
    longest_unready_s: float = 0.0
    memory_growth: float = 0.0
    num_descriptors: tuple[int, int] = 0, 0
    """Before and after."""
    problems: list[str] = field(default_factory=list)


class FaultRun:
    """One run.

    Args:
        folder: for the journal.
        model: a model's folder.
        circuit: of the workflow ``summarizer``.
        seed: of what happens when.
    """

    def __init__(self, folder: Path, model: Path, circuit: Path, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._port = free_port()
        self._settings: dict[str, Any] = {
            "LLM_MODEL": str(model),
            "LLM_MAX_STEP_S": str(MAX_STEP_S),
            "LLM_LOOKUP_TOKENS": "0",
            "LLM_JOURNAL": "sqlite",
            "LLM_JOURNAL_PATH": str(folder / "journal.sqlite3"),
            "LLM_JOB_LEASE_S": "2",
            "LLM_CIRCUIT": str(circuit),
            "LLM_PROOF_WORKERS": "1",
            "LLM_WORKFLOWS": '{"summarizer": "domain.workflows.summarizer.SummarizerWorkflow"}',
        }
        self._stack = AsyncExitStack()
        self._running: ServiceProcess
        self._expected = Expected()
        self._ended: list[Ended] = []
        self._breaks_s: list[tuple[float, float]] = []
        """When connections may break off, from and to."""
        self.figures = Figures()

    def run(self, duration_s: float) -> Figures:
        """Serve for so long, and check."""
        asyncio.run(self._run(duration_s))
        self._count()
        return self.figures

    async def _run(self, duration_s: float) -> None:
        async with self._stack as stack:
            client = await stack.enter_async_context(self._client())
            self._running = stack.enter_context(self._service())
            asking = Asking(client, self._expected, self._chance)
            await asking.learn()
            before = self._weight()
            async with asyncio.TaskGroup() as group:
                rude = [RudeClient(self._port, self._chance) for _ in range(NUM_RUDE)]
                background = [group.create_task(client.run()) for client in rude]
                background.append(group.create_task(self._watch_readiness()))
                end_s = time.monotonic() + duration_s
                callers = [group.create_task(self._call(asking, end_s)) for _ in range(NUM_CALLERS)]
                await self._injected(asking, end_s)
                await asyncio.wait(callers)
                for task in background:
                    task.cancel()
            self.figures.num_rude = sum(client.num_times for client in rude)
            await self._settled()
            for job_id in asking.job_ids:
                began_s = time.monotonic()
                verdict = await asking.job_outcome(job_id)
                self._end("result of a job", verdict.outcome, began_s, verdict.note)
            await asyncio.sleep(QUIET_S)
            self._compare(before, self._weight())
            if (status := self._running.stop()) != 0:
                self._problem(f"the service ended with {status}")

    def _client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=NUM_CALLERS)
        return httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}", timeout=ANSWER_TIMEOUT_S, limits=limits
        )

    @contextmanager
    def _service(self) -> Iterator[ServiceProcess]:
        arguments = "--workers=2", f"--bind=127.0.0.1:{self._port}", f"--graceful-timeout={GRACE_S}"
        with started(*arguments, **self._settings) as running:
            running.wait_until_ready()
            yield running

    async def _call(self, asking: Asking, end_s: float) -> None:
        while time.monotonic() < end_s:
            await self._ask(asking, self._chance.choice(list(asking.kinds)))

    async def _ask(self, asking: Asking, kind: str) -> None:
        began_s = time.monotonic()
        try:
            verdict = await asking.kinds[kind]()
        except httpx2.TimeoutException:
            self._end(kind, Outcome.LOST, began_s, "no answer in time")
        except httpx2.TransportError as error:
            self._end(kind, Outcome.BROKEN, began_s, repr(error))
            await asyncio.sleep(0.1)
        else:
            self._end(kind, verdict.outcome, began_s, verdict.note)
            if verdict.outcome is Outcome.REFUSED:
                await asyncio.sleep(0.1)

    async def _injected(self, asking: Asking, end_s: float) -> None:
        faults = {
            "engine killed": self._kill_engine,
            "engine stopped": self._stop_engine,
            "worker killed": self._kill_worker,
            "prover killed": self._kill_prover,
            "burst": lambda: self._burst(asking),
            "restart": self._restart,
        }
        due: list[str] = []
        while time.monotonic() < end_s:
            await asyncio.sleep(self._chance.uniform(*FAULT_PAUSE_S))
            if not due:
                due = self._chance.sample(list(faults), len(faults))
            name = due.pop()
            self.figures.faults[name] += 1
            await faults[name]()

    async def _kill_engine(self) -> None:
        self._signal(self._running.engine_pid, signal.SIGKILL)

    async def _stop_engine(self) -> None:
        pid = self._running.engine_pid
        self._signal(pid, signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.5, 2 * MAX_STEP_S))
        self._signal(pid, signal.SIGCONT)

    async def _kill_worker(self) -> None:
        self._breaks_s.append((time.monotonic(), time.monotonic() + BREAK_S))
        self._signal(self._chance.choice(self._running.worker_pids), signal.SIGKILL)

    async def _kill_prover(self) -> None:
        provers = [pid for worker in self._running.worker_pids for pid in children_of(worker)]
        if provers:
            self._signal(self._chance.choice(provers), signal.SIGKILL)

    async def _burst(self, asking: Asking) -> None:
        await asyncio.gather(*(self._ask(asking, "whole") for _ in range(BURST)))

    async def _restart(self) -> None:
        began_s = time.monotonic()
        self._running.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._running.process.wait, 2 * GRACE_S)
        if status != 0:
            self._problem(f"the service ended with {status}")
        self._running = await asyncio.to_thread(self._stack.enter_context, self._service())
        self._breaks_s.append((began_s, time.monotonic()))

    def _signal(self, pid: int | None, number: int) -> None:
        with suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)

    async def _watch_readiness(self) -> None:
        ready_s = time.monotonic()
        async with self._client() as client:
            while True:
                await asyncio.sleep(0.1)
                with suppress(httpx2.TransportError):
                    response = await client.get("/health/ready", timeout=5)
                    if response.status_code == 200:
                        ready_s = time.monotonic()
                unready_s = time.monotonic() - ready_s
                self.figures.longest_unready_s = max(self.figures.longest_unready_s, unready_s)

    async def _settled(self) -> None:
        deadline_s = time.monotonic() + 30
        async with self._client() as client:
            while time.monotonic() < deadline_s:
                with suppress(httpx2.TransportError):
                    if (await client.get("/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.2)
        self._problem("the service did not get ready again")

    def _weight(self) -> tuple[int, int]:
        """Return the memory in bytes (PSS) and the open descriptors of all processes of the service."""
        memory = sum(size_bytes(pid, "Pss") for pid in self._pids())
        return memory, sum(len(descriptor_kinds(pid)) for pid in self._pids())

    def _pids(self) -> list[int]:
        return [self._running.process.pid, *self._running.child_pids]

    def _compare(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        self.figures.memory_growth = after[0] / before[0]
        self.figures.num_descriptors = before[1], after[1]
        if self.figures.memory_growth > GROWTH:
            self._problem(f"memory grew from {before[0]} to {after[0]} bytes")
        if after[1] > before[1] + NUM_CALLERS + NUM_KEPT:
            kinds = Counter(kind for pid in self._pids() for kind in descriptor_kinds(pid))
            self._problem(f"descriptors grew from {before[1]} to {after[1]}: {kinds.most_common(8)}")

    def _end(self, kind: str, outcome: Outcome, began_s: float, note: str) -> None:
        self._ended.append(Ended(kind, outcome, began_s, time.monotonic(), note))

    def _count(self) -> None:
        figures = self.figures
        answered_s = sorted(ended.ended_s for ended in self._ended if ended.outcome is Outcome.RIGHT)
        pauses_s = [later - earlier for earlier, later in pairwise(answered_s)]
        figures.longest_stall_s = max(pauses_s, default=0.0)
        for ended in self._ended:
            figures.outcomes[f"{ended.kind}: {ended.outcome}"] += 1
            figures.num_lost += ended.outcome is Outcome.LOST
            figures.num_wrong += ended.outcome is Outcome.WRONG
            is_odd = ended.outcome in {Outcome.LOST, Outcome.WRONG}
            if is_odd or (ended.outcome is Outcome.BROKEN and not self._has_excuse(ended)):
                self._problem(f"{ended.kind}: {ended.outcome} ({ended.note})")

    def _has_excuse(self, ended: Ended) -> bool:
        return any(ended.began_s <= last and first <= ended.ended_s for first, last in self._breaks_s)

    def _problem(self, text: str) -> None:
        self.figures.problems.append(text)


def descriptor_kinds(pid: int) -> list[tuple[int, str]]:
    """Return what each open descriptor of a process is, with the process."""
    kinds = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            kinds.append((pid, str(link.readlink()).partition("[")[0]))
    return kinds
