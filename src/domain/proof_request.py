"""Whether the consumer of the request being served asks for a proof: known to every hook of the workflow."""

from contextvars import ContextVar, Token

_is_required: ContextVar[bool] = ContextVar("is_proof_required", default=False)


class ProofRequest:
    """A block in whose context a request is served that asks for a proof or does not."""

    __slots__ = ("_is_required", "_token")
    _token: Token[bool]

    def __init__(self, *, is_required: bool) -> None:
        self._is_required = is_required

    def __enter__(self) -> None:
        self._token = _is_required.set(self._is_required)

    def __exit__(self, *_: object) -> None:
        _is_required.reset(self._token)


def is_proof_required() -> bool:
    """Tell whether ``requires_proof`` was set in the request served in this context."""
    return _is_required.get()
