"""``EzklProver``: the ``Prover`` port on a pool of child processes.

One EZKL process with all threads proves a single input soonest; several with a share of the threads each
prove more inputs a second. So a request that comes alone goes to a process of its own with all threads, and
those that come while others are under way share the pool (``python -m bench.proofs`` measures both).
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.ezkl_proof.circuit_folder import CircuitFolder, open_circuit_folder
from adapters.ezkl_proof.parameters import largest_magnitude
from adapters.ezkl_proof.proof_answer import ProofAnswer
from adapters.ezkl_proof.worker_process import WorkerProcess
from domain.errors import (
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    OverloadedError,
    ProverError,
    UnavailableError,
)
from domain.proofs import CircuitDescription, ProofResult, ProofTimings
from domain.tracing import NO_TRACES, Tracer
from ezkl_calldata import (
    AttestationCall,
    InstanceLayout,
    VerifyCall,
    encode_attestation_call,
    encode_verify_call,
    instance_layout,
    read_proof,
)

COMPANY_S = 0.01
"""How long a request that comes alone waits for others, before it takes the process with all threads."""


@dataclass(frozen=True, slots=True)
class ProverOptions:
    """How to prove."""

    num_workers: int = 1
    """Processes for requests at once; more than one makes another for a request alone."""
    num_threads: int = 2
    """Of EZKL in each worker; the one for a request alone has those of all."""
    timeout_s: float = 120.0
    """For one proof, once a worker took it up."""
    max_waiting: int = 32
    max_memory_bytes: int = 0
    """Of a worker's address space; 0 for no cap."""
    verifier_address: bytes | None = None
    """Of the deployed verifier, for the attestation's calldata."""


@dataclass(frozen=True, slots=True)
class _Opened:
    folder: CircuitFolder
    layout: InstanceLayout
    description: CircuitDescription
    max_magnitude: int
    """Of an input in fixed point."""


class EzklProver:
    """Proofs of one circuit.

    Args:
        circuit: the circuit folder.
        options: see ``ProverOptions``.
        tracer: told of each proof.
    """

    def __init__(self, circuit: Path, options: ProverOptions, tracer: Tracer = NO_TRACES) -> None:
        self._path = circuit
        self._options = options
        self._tracer = tracer
        self._threads = ThreadPoolExecutor(options.num_workers + 1, thread_name_prefix="prove")
        self._workers = [self._new_worker(options.num_threads) for _ in range(options.num_workers)]
        is_pool = options.num_workers > 1
        self._solo = self._new_worker(options.num_workers * options.num_threads) if is_pool else None
        self._idle: asyncio.Queue[WorkerProcess] = asyncio.Queue()
        self._num_waiting = 0
        self._num_proving = 0
        self._opened: _Opened | None = None

    @property
    def circuit(self) -> CircuitDescription:
        return self._ready().description

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        opened = await loop.run_in_executor(self._threads, _open, self._path)
        try:
            # the others start when they are first needed
            await loop.run_in_executor(self._threads, (self._solo or self._workers[0]).start)
        except UnavailableError as error:
            await self.close()
            raise ConfigurationError(str(error)) from error
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._opened = opened

    async def close(self) -> None:
        self._opened = None
        for worker in (*self._workers, *([self._solo] if self._solo else [])):
            worker.kill()
        self._threads.shutdown(wait=False)

    async def prove(self, inputs: Sequence[float]) -> ProofResult:
        opened = self._ready()
        checked = _checked(inputs, opened)
        with self._tracer.span("proof", {"llm.circuit.id": opened.description.circuit_id}):
            came_s = time.perf_counter()
            async with self._worker() as worker:
                started_s = time.perf_counter()
                self._tracer.record("queue", came_s, started_s)
                answer = await self._ask(worker, checked)
            self._trace(answer)
            with self._tracer.span("calldata"):
                return self._result(opened, answer, started_s - came_s)

    def _new_worker(self, num_threads: int) -> WorkerProcess:
        return WorkerProcess(self._path, num_threads, self._options.max_memory_bytes)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[WorkerProcess]:
        """Take a place in the pool; a request alone has the one with all threads do its work."""
        pooled = await self._idle_worker()
        self._num_proving += 1
        try:
            if self._solo is not None and self._num_proving == 1:
                await asyncio.sleep(COMPANY_S)
            yield self._solo if self._solo is not None and self._num_proving == 1 else pooled
        finally:
            self._num_proving -= 1
            self._idle.put_nowait(pooled)

    async def _idle_worker(self) -> WorkerProcess:
        if self._idle.empty() and self._num_waiting >= self._options.max_waiting:
            raise OverloadedError(f"{self._num_waiting} requests are already waiting for a proof")
        self._num_waiting += 1
        try:
            return await self._idle.get()
        finally:
            self._num_waiting -= 1

    async def _ask(self, worker: WorkerProcess, inputs: list[float]) -> ProofAnswer:
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, worker.prove, inputs, self._options.timeout_s)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            worker.kill()  # it cannot be stopped otherwise; the next request starts it anew
            await asyncio.gather(work, return_exceptions=True)
            raise
        except ProverError as error:
            if self._opened is None:
                raise UnavailableError("the service is shutting down") from error
            raise

    def _trace(self, answer: ProofAnswer) -> None:
        began_s = time.perf_counter() - (answer.witness_s + answer.prove_s + answer.verify_s)
        for step in ("witness", "prove", "verify"):
            ended_s = began_s + getattr(answer, f"{step}_s")
            self._tracer.record(step, began_s, ended_s)
            began_s = ended_s

    def _ready(self) -> _Opened:
        if self._opened is None:
            raise UnavailableError("the prover is not running")
        return self._opened

    def _result(self, opened: _Opened, answer: ProofAnswer, waiting_s: float) -> ProofResult:
        proof = read_proof(answer.raw)
        call = VerifyCall(proof.data, proof.instances)
        address = self._options.verifier_address
        return ProofResult(
            circuit_id=opened.description.circuit_id,
            proof=proof.data,
            instances=proof.instances,
            values=opened.layout.values(proof.instances),
            verify_calldata=encode_verify_call(call),
            attestation_calldata=(
                None if address is None else encode_attestation_call(AttestationCall(address, call))
            ),
            timings=ProofTimings(waiting_s, answer.witness_s, answer.prove_s, answer.verify_s),
        )


def _open(path: Path) -> _Opened:
    folder = open_circuit_folder(path)
    settings = folder.settings
    try:
        run_args = settings["run_args"]
        if len(settings["model_input_scales"]) != 1:
            raise ConfigurationError(f"{path}: circuits of one input are supported")
        description = CircuitDescription(
            circuit_id=folder.circuit_id,
            num_inputs=int(folder.manifest.origin["num_inputs"]),
            input_scale=int(settings["model_input_scales"][0]),
            takes_integers=settings["input_types"] == ["Int"],
            input_visibility=str(folder.manifest.origin["input_visibility"]),
            is_srs_insecure=folder.is_srs_insecure,
        )
        return _Opened(
            folder=folder,
            layout=instance_layout(settings),
            description=description,
            max_magnitude=largest_magnitude(int(run_args["decomp_base"]), int(run_args["decomp_legs"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: the circuit's settings are of an unknown form: {error!r}"
        ) from error


def _checked(inputs: Sequence[Any], opened: _Opened) -> list[float]:
    """Return the inputs if the circuit takes them: EZKL would round, cut or ignore some in silence.

    Raises:
        InvalidRequestError: names the input.
    """
    circuit = opened.description
    if len(inputs) != circuit.num_inputs:
        problem = f"the circuit takes {circuit.num_inputs} numbers, not {len(inputs)}"
        raise InvalidRequestError(FieldProblem("inputs", problem))
    limit = opened.max_magnitude / 2**circuit.input_scale
    for index, value in enumerate(inputs):
        reason = _reason_against(value, limit, takes_integers=circuit.takes_integers)
        if reason is not None:
            raise InvalidRequestError(FieldProblem(f"inputs.{index}", reason))
    return [float(value) for value in inputs]


def _reason_against(value: Any, limit: float, *, takes_integers: bool) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "should be a number"
    if isinstance(value, float) and not math.isfinite(value):
        return "should be finite"
    if takes_integers and value != int(value):
        return "should be a whole number: the circuit takes no others"
    if abs(value) > limit:
        return f"should be between {-limit:g} and {limit:g}, which is what the circuit holds"
    return None
