"""``BoundedStream``: encoded bytes that can be read a few times over and no more.

Pointers may point to the same bytes, and eth-abi follows each: nested arrays make gigabytes of kilobytes.
"""

from collections.abc import Sequence

from eth_abi.decoding import ContextFramesBytesIO
from eth_abi.exceptions import DecodingError


class ReadTooOftenError(DecodingError):
    """More was read than an encoding without shared parts needs."""


class BoundedStream(ContextFramesBytesIO):
    """What eth-abi decodes from.

    Args:
        data: an encoding.
        types: that it is decoded as. eth-abi reads what stands in a tuple twice, once for a check.
    """

    def __init__(self, data: bytes, types: Sequence[str]) -> None:
        super().__init__(data)  # type: ignore[no-untyped-call] # eth-abi leaves it open
        self._bytes_left = len(data) * 2 ** (1 + max(map(_depth, types), default=0))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on. Raises ``ReadTooOftenError``."""
        read = super().read(size)
        self._bytes_left -= len(read)
        if self._bytes_left < 0:
            raise ReadTooOftenError("the pointers share too many bytes")
        return read


def _depth(type_: str) -> int:
    depth = deepest = 0
    for character in type_:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest
