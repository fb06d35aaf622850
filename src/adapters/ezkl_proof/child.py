"""Runs a function in a child process of its own: what aborts there leaves this process alone."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from adapters.ezkl_proof.ezkl_steps import EzklError

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def in_child(step: Callable[P, ResultT], *arguments: P.args, **options: P.kwargs) -> ResultT:
    """Return what a step returns in a fresh process.

    Raises:
        EzklError: the step raised it, or the process ended before the step did.
    """
    # spawned, since EZKL hangs in a forked child of a process that has used it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(step, *arguments, **options).result()
        except BrokenProcessPool as error:
            raise EzklError("EZKL ended its process") from error
