"""Watches the engine from a thread of its own, and tells when it will answer nobody any more."""

import threading
from collections.abc import Callable

from adapters.onnx.engine import Engine

LOOK_EVERY_S = 0.5


class Watchdog:
    """Looks at an engine twice a second, from ``start`` until ``stop``.

    Args:
        engine: started.
        max_step_s: a step that takes longer is taken to hang.
        on_broken: told why, once, in the watchdog's thread.
    """

    def __init__(self, engine: Engine, max_step_s: float, on_broken: Callable[[str], None]) -> None:
        self._engine = engine
        self._max_step_s = max_step_s
        self._on_broken = on_broken
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="onnx-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; before the engine is stopped."""
        self._is_stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_stopping.wait(LOOK_EVERY_S):
            if not self._engine.is_running:
                self._on_broken("the engine failed")
                return
            if self._engine.step_s > self._max_step_s:
                self._on_broken(f"a step of the engine takes longer than {self._max_step_s:g} s")
                return
