"""Runs functions in a child process: what aborts there leaves this process alone."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from adapters.ezkl_proof.ezkl_steps import EzklError

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class Child:
    """A child process for several steps, one after the other; one that ended is started anew."""

    def __init__(self) -> None:
        self._pool = self._new_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def run(self, step: Callable[P, ResultT], *arguments: P.args, **options: P.kwargs) -> ResultT:
        """Return what a step returns in the child.

        Raises:
            EzklError: the step raised it, or the child ended before the step did.
        """
        try:
            return self._pool.submit(step, *arguments, **options).result()
        except BrokenProcessPool as error:
            self._pool.shutdown()
            self._pool = self._new_pool()
            raise EzklError("EZKL ended its process") from error

    @staticmethod
    def _new_pool() -> ProcessPoolExecutor:
        # spawned, since EZKL hangs in a forked child of a process that has used it
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_be_quiet)


def _be_quiet() -> None:
    """Keep EZKL's own lines from between ours: what matters of them comes back as an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def in_child(step: Callable[P, ResultT], *arguments: P.args, **options: P.kwargs) -> ResultT:
    """Return what one step returns in a fresh process.

    Raises:
        EzklError: the step raised it, or the process ended before the step did.
    """
    with Child() as child:
        return child.run(step, *arguments, **options)
