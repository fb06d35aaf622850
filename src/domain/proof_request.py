"""Whether the consumer of the request being served asks for a proof: known to every hook of the workflow."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_required: ContextVar[bool] = ContextVar("is_proof_required", default=False)


@contextmanager
def proof_request(*, is_required: bool) -> Iterator[None]:
    """Serve a request in this context that asks for a proof or does not."""
    token = _is_required.set(is_required)
    try:
        yield
    finally:
        _is_required.reset(token)


def is_proof_required() -> bool:
    """Tell whether ``requires_proof`` was set in the request served in this context."""
    return _is_required.get()
