"""Shows the progress of long work."""

import sys
import threading
from types import TracebackType
from typing import Any, Protocol, Self

from tqdm import tqdm


class BuildReporter(Protocol):
    """Told how far the work has come."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins; the one before it is over."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Some steps of the stage are done."""
        ...

    def warn(self, message: str) -> None:
        """Something that the user should know."""
        ...

    def finish(self) -> None:
        """The last stage is over."""
        ...


class SilentReporter:
    """Shows nothing."""

    def start(self, stage: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def warn(self, message: str) -> None: ...

    def finish(self) -> None: ...


class TqdmReporter:
    """A progress bar on stderr; a line a stage where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        tqdm.set_lock(threading.RLock())  # its own is for several processes, and outlives one that is killed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def start(self, stage: str, total: int) -> None:
        self.finish()
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr)
        else:
            tqdm.write(f"==> {stage}", file=sys.stderr)

    def advance(self, steps: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(steps)

    def warn(self, message: str) -> None:
        tqdm.write(f"warning: {message}", file=sys.stderr)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
