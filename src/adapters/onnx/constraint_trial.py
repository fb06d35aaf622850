"""Tries grammars in a child process: one that hangs, eats memory or overflows the stack ends the child alone.

The child is this module: ``python -m adapters.onnx.constraint_trial``. It reads lines of JSON, the tokenizer
first and grammars after it, and answers each with the library's complaint, empty where there is none.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from adapters.onnx.constraint_matcher import GrammarError, new_matcher, read_tokenizer
from domain.errors import BackendError

MAX_CPU_S = 2.0
MAX_MEMORY_BYTES = 1 << 30
"""Of address space, the tokenizer's included."""
STACK_BYTES = 4 << 20
"""Half of what threads have here, so that what fits there fits here."""

END_S = 1.0
"""By then a process that has closed its output has ended."""

READY = ""


class ConstraintTrial:
    """The parent's side. The child starts with the first grammar; one that ended is started anew.

    Safe to use from several threads, which wait for one another.

    Args:
        tokenizer_json: the text of ``tokenizer.json``.
        vocab_size: entries of a row of logits.
        eos_token_ids: one or more.
    """

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_token_ids: list[int]) -> None:
        self._greeting = [tokenizer_json, vocab_size, eos_token_ids]
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def complaint(self, grammar: str) -> str | None:
        """Return what the library says against a grammar: "" for nothing, None where it ended the child.

        Raises:
            BackendError: the child does not start, or something else killed it.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._start()
            answer = self._answer(grammar)
            if answer is None and self._ended() == -signal.SIGKILL:
                # nothing that a grammar does ends it so; memory that ran short elsewhere may
                raise BackendError("the process that tries constraints was killed")
            return answer

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        # not multiprocessing's own: Hypercorn's workers are daemons, which may have no such children
        self._process = subprocess.Popen(
            [sys.executable, "-m", "adapters.onnx.constraint_trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "RAYON_NUM_THREADS": "1"},
            start_new_session=True,  # a terminal's ctrl-c is for the service, which ends it
        )
        if self._answer(self._greeting) != READY:
            self._end()
            raise BackendError("the process that tries constraints did not start")

    def _answer(self, question: object) -> str | None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            return None
        return str(json.loads(line)) if line.endswith("\n") else None

    def _ended(self) -> int | None:
        """Return the status of a child that says nothing any more; None where it goes on, and is ended."""
        status = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = self._process.wait(END_S)
        self._end()
        return status

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def main() -> None:
    """Answer until the parent is gone."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the caller's text
    tokenizer = read_tokenizer(*json.loads(sys.stdin.readline()))
    _reply(READY)
    for line in sys.stdin:
        # by its own processor time, so that a busy machine refuses nothing; the signal ends the process
        signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S)
        try:
            new_matcher(tokenizer, json.loads(line))
            complaint = READY
        except GrammarError as error:
            complaint = str(error)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        _reply(complaint)


def _reply(text: str) -> None:
    sys.stdout.write(json.dumps(text) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # the service compiles in threads, so this does, with less of a stack
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
