"""``PredecessorWorkflow``: runs a class with infernet-ml's ``setup()`` and ``inference(input_data)``.

The predecessor called it inside its event loop, where every other request waited; here it runs in a thread.
Its base class writes what it is given to the root logger; that is kept out of the logs.
"""

import inspect
import logging
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, RootModel

from domain.workflow import LLMInferenceWorkflow

PACKAGE = "infernet_ml"


class AnyRequest(RootModel[Any]):
    """Whatever the class takes."""


class PredecessorWorkflow(LLMInferenceWorkflow):
    """A workflow around an object of the predecessor's interface.

    Args:
        inner: has ``setup()`` and ``inference(input_data)``, and ``stream(input_data)`` if it streams.
    """

    request_type: ClassVar[type[BaseModel]] = AnyRequest

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        _keep_out_of_logs(type(inner))

    @property
    def streams_pieces(self) -> bool:
        return callable(getattr(self._inner, "stream", None))

    def setup(self) -> None:
        self._inner.setup()

    async def preprocess(self, request: AnyRequest) -> Any:
        return request.root

    def generate(self, prompt: Any) -> Any:
        return self._inner.inference(prompt)

    async def postprocess(self, generation: Any, request: AnyRequest) -> Any:  # noqa: ARG002 - the port's
        return generation.model_dump(mode="json") if isinstance(generation, BaseModel) else generation

    def stream(self, prompt: Any) -> Iterator[str]:
        for piece in self._inner.stream(prompt):
            yield piece if isinstance(piece, str) else str(piece)


def is_predecessor(candidate: type) -> bool:
    """Tell whether a class has the predecessor's interface."""
    return all(callable(getattr(candidate, name, None)) for name in ("setup", "inference"))


class _NotFrom(logging.Filter):
    """Drops records that were logged by some files."""

    def __init__(self, paths: frozenset[str]) -> None:
        super().__init__()
        self._paths = paths

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.pathname not in self._paths


def _keep_out_of_logs(inner: type) -> None:
    """Drop what the predecessor's own files write below warnings: it quotes the caller."""
    own = (base for base in inner.__mro__ if base.__module__.partition(".")[0] == PACKAGE)
    paths = frozenset(path for base in own if (path := inspect.getsourcefile(base)) is not None)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_NotFrom(paths))
