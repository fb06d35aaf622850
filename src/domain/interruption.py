"""``Interruption``: ends what runs inside of a block from outside of it, as ``asyncio.timeout`` does."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Interruption(ABC):
    """A block whose task may be cancelled; the cancellation leaves the block as an error that says why.

    A subclass says what is waited for meanwhile. That begins when the block first waits: what is done at
    once, as most bodies are read and some answers made, pays for no timer and no task.
    """

    @abstractmethod
    def begin(self) -> None:
        """Begin to wait for what may interrupt the block."""

    @abstractmethod
    def end(self) -> None:
        """Stop waiting; not called where ``begin`` was not."""

    @abstractmethod
    def error(self) -> Exception:
        """Return what the block raises when it was interrupted."""

    def interrupt(self) -> None:
        """Cancel what runs inside of the block."""
        self._is_interrupted = True
        self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only a task can be cancelled
        self._task = task
        self._num_cancelling = task.cancelling()
        self._is_interrupted = False
        self._has_begun = False
        self._beginning = asyncio.get_running_loop().call_soon(self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, _: TracebackType | None
    ) -> None:
        self._beginning.cancel()
        if self._has_begun:
            self.end()
        if not self._is_interrupted:
            return
        # a task that was cancelled from elsewhere too stays cancelled
        is_ours_alone = self._task.uncancel() <= self._num_cancelling
        if is_ours_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self.error() from raised

    def _begin(self) -> None:
        self._has_begun = True
        self.begin()
