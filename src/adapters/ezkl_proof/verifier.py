"""``EzklVerifier``: the ``ProofVerifier`` port; each proof is checked in a process of its own.

A proof that a stranger brings may panic or end EZKL, and is checked rarely: a process that ends gives back
what it took.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from pathlib import Path

from adapters.ezkl_proof.circuit_folder import CircuitFolder, open_circuit_folder
from adapters.ezkl_proof.verification import HOLDS, REFUSED
from domain.deadline import Deadline
from domain.errors import (
    ConfigurationError,
    FieldProblem,
    InvalidRequestError,
    OverloadedError,
    ProverError,
    UnavailableError,
)
from domain.proofs import ProofVerdict
from ezkl_calldata import (
    CalldataError,
    InstanceLayout,
    VerifyCall,
    decode_attestation_call,
    decode_verify_call,
    encode_verify_call,
    instance_layout,
)

MAX_RUNNING = 1


@dataclass(frozen=True, slots=True)
class VerifierOptions:
    """How to check."""

    timeout_s: float = 120.0
    """For one proof, waiting included."""
    max_waiting: int = 32


class EzklVerifier:
    """Checks proofs of one circuit, one after the other.

    Args:
        circuit: the circuit folder.
        options: see ``VerifierOptions``.
    """

    def __init__(self, circuit: Path, options: VerifierOptions) -> None:
        self._path = circuit
        self._options = options
        self._turn = asyncio.Semaphore(MAX_RUNNING)
        self._num_under_way = 0
        self._opened: tuple[CircuitFolder, InstanceLayout] | None = None

    async def open(self) -> None:
        self._opened = await asyncio.to_thread(_open, self._path)

    async def verify(self, calldata: bytes) -> ProofVerdict:
        if self._opened is None:
            raise UnavailableError("the service is starting or stopping")
        folder, layout = self._opened
        call = _decoded(calldata)
        try:
            values = layout.values(call.instances)
        except CalldataError:
            values = None
        return ProofVerdict(
            circuit_id=folder.circuit_id,
            holds=values is not None and await self._holds(call),
            instances=call.instances,
            values=values,
            is_srs_insecure=folder.is_srs_insecure,
        )

    async def _holds(self, call: VerifyCall) -> bool:
        if self._num_under_way >= MAX_RUNNING + self._options.max_waiting:
            raise OverloadedError("too many proofs wait to be checked")
        self._num_under_way += 1
        try:
            with Deadline(self._options.timeout_s):
                async with self._turn:
                    status = await self._checked(encode_verify_call(call))
        finally:
            self._num_under_way -= 1
        if status not in {HOLDS, REFUSED}:
            raise ProverError("the process that checks the proof ended")
        return status == HOLDS

    async def _checked(self, calldata: bytes) -> int | None:
        """Return the exit status of the process that checks a proof; it is ended if this is cancelled."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "adapters.ezkl_proof.verification", str(self._path)),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={**os.environ, "RAYON_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            await process.communicate(calldata)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode


def _open(path: Path) -> tuple[CircuitFolder, InstanceLayout]:
    folder = open_circuit_folder(path)
    try:
        return folder, instance_layout(folder.settings)
    except CalldataError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _decoded(calldata: bytes) -> VerifyCall:
    try:
        return decode_verify_call(calldata)
    except CalldataError as error:
        refusal = error
    try:
        return decode_attestation_call(calldata).verify_call
    except CalldataError:
        raise InvalidRequestError(FieldProblem("calldata", str(refusal))) from refusal
