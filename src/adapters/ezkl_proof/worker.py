"""The child process that proves: ``python -m adapters.ezkl_proof.worker FD CIRCUIT_FOLDER``.

It reads inputs from the connection at the file descriptor and answers each with a ``ProofAnswer``, or with
the name of the step that failed. It ends when the connection does. Whatever EZKL does to this process
(panics, an abort, 95 GB of memory), the service lives.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.circuit_folder import CIRCUIT, PROVING_KEY, SETTINGS, SRS, VERIFYING_KEY
from adapters.ezkl_proof.ezkl_steps import EzklError
from adapters.ezkl_proof.proof_answer import READY, ProofAnswer, StepFailure

NICENESS = 10
"""Proofs are long, and yield the processor to requests that are short."""


def serve(connection: Connection, circuit: Path) -> None:
    """Answer inputs until the connection ends."""
    connection.send(READY)
    while True:
        try:
            inputs = connection.recv()
        except EOFError:
            return
        connection.send(_answer(circuit, inputs))


def _answer(circuit: Path, inputs: list[float]) -> ProofAnswer | StepFailure:
    def file(name: str) -> str:
        return str(circuit / name)

    step = "witness"
    times_s = [time.monotonic()]
    try:
        with _file_in_memory() as witness_file, _file_in_memory() as proof_file:
            witness = ezkl_steps.gen_witness(file(CIRCUIT), inputs)
            Path(witness_file).write_text(json.dumps(witness), encoding="utf-8")
            times_s.append(time.monotonic())
            step = "prove"
            raw = ezkl_steps.prove(file(CIRCUIT), file(PROVING_KEY), file(SRS), witness_file, proof_file)
            times_s.append(time.monotonic())
            step = "verify"  # EZKL proves a tampered witness without a word
            ezkl_steps.verify(proof_file, file(SETTINGS), file(VERIFYING_KEY), file(SRS))
            times_s.append(time.monotonic())
    except EzklError:
        return StepFailure(step)
    return ProofAnswer(raw, *(end - start for start, end in pairwise(times_s)))


@contextmanager
def _file_in_memory() -> Iterator[str]:
    """Yield the path of a file on no disk: a witness must not outlive a process that is killed."""
    descriptor = os.memfd_create("proof")
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def main(descriptor: str, circuit: str, max_memory_bytes: str) -> None:
    """Serve one connection."""
    if int(max_memory_bytes):
        resource.setrlimit(resource.RLIMIT_AS, (int(max_memory_bytes),) * 2)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold witnesses
    with Connection(int(descriptor)) as connection:
        serve(connection, Path(circuit))


if __name__ == "__main__":
    main(*sys.argv[1:])
