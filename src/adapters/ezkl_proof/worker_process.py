"""The parent's side of a proving child: starts it, asks it, ends it, and starts it anew."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from adapters.ezkl_proof.proof_answer import READY, ProofAnswer, StepFailure
from domain.errors import DeadlineExceededError, ProverError

START_TIMEOUT_S = 60.0


class WorkerProcess:
    """One child; used by one thread at a time, but ``kill`` may be called from any.

    Args:
        circuit: the circuit folder.
        num_threads: of EZKL in the child.
        max_memory_bytes: of address space; 0 for no cap.
    """

    def __init__(self, circuit: Path, num_threads: int, max_memory_bytes: int) -> None:
        self._circuit = circuit
        self._num_threads = num_threads
        self._max_memory_bytes = max_memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start the child and wait until it is ready.

        Raises:
            ProverError: it did not come up.
        """
        ours, theirs = multiprocessing.Pipe()
        command = [sys.executable, "-m", "adapters.ezkl_proof.worker"]
        arguments = [str(theirs.fileno()), str(self._circuit), str(self._max_memory_bytes)]
        with theirs:
            # not multiprocessing's own: Hypercorn's workers are daemons, which may have no such children
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, *arguments],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "RAYON_NUM_THREADS": str(self._num_threads)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's ctrl-c is for the service, which ends it
            )
        self._connection = ours
        if self._received(START_TIMEOUT_S) != READY:
            raise ProverError("the proving process did not start")

    def prove(self, inputs: list[float], timeout_s: float) -> ProofAnswer:
        """Prove one input; a child that is gone is started first.

        Raises:
            DeadlineExceededError: it took longer than ``timeout_s``.
            ProverError: EZKL refused a step, or the child ended.
        """
        if self._connection is None or self._process is None or self._process.poll() is not None:
            self.kill()
            self.start()
        assert self._connection is not None  # noqa: S101 - start() set it
        try:
            self._connection.send(inputs)
        except OSError as error:
            self.kill()
            raise ProverError("the proving process ended") from error
        answer = self._received(timeout_s)
        if isinstance(answer, StepFailure):
            raise ProverError(f"the proof failed at the step {answer.step}")
        if not isinstance(answer, ProofAnswer):
            raise ProverError("the proving process ended")
        return answer

    def kill(self) -> None:
        """End the child at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _received(self, timeout_s: float) -> object:
        """Return what the child sends next; a child that is late or gone is ended."""
        connection = self._connection
        try:
            if connection is not None and connection.poll(timeout_s):
                received: object = connection.recv()
                return received
        except (EOFError, OSError):
            self.kill()
            return None
        self.kill()
        raise DeadlineExceededError(f"the proof took longer than {timeout_s:g} s")
