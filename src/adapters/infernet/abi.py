"""Contract ABI over eth-abi, with its errors as ours.

(https://docs.soliditylang.org/en/latest/abi-spec.html)
"""

from collections.abc import Sequence
from typing import Any

from eth_abi import abi
from eth_abi.exceptions import DecodingError
from eth_abi.exceptions import EncodingError as AbiEncodingError
from eth_abi.registry import registry

from adapters.infernet.bounded_stream import BoundedStream, ReadTooOftenError
from domain.chain import ChainLayout
from domain.errors import EncodingError, FieldProblem, InvalidRequestError

MAX_INPUT_BYTES = 65_536
"""A contract's input costs it gas by the byte: more is nobody's."""

PLAIN_TYPES = frozenset({"string", "bytes"})
MAX_WRAPPED = 2


def decode(types: Sequence[str], data: bytes, field: str = "data") -> tuple[Any, ...]:
    """Return the values that ``data`` encodes.

    Raises:
        InvalidRequestError: it does not; names ``field``.
    """
    named = f"({','.join(types)})"
    if len(data) > MAX_INPUT_BYTES:
        reason = f"has {len(data)} bytes; at most {MAX_INPUT_BYTES} are taken"
        raise InvalidRequestError(FieldProblem(field, reason))
    if types and not data:
        raise InvalidRequestError(FieldProblem(field, f"is empty; the workflow reads {named}"))
    try:
        values: tuple[Any, ...] = registry.get_tuple_decoder(*types)(BoundedStream(data, types))
    except ReadTooOftenError as error:
        raise InvalidRequestError(FieldProblem(field, "points to the same bytes too often")) from error
    except (DecodingError, OverflowError, UnicodeDecodeError, ValueError, MemoryError) as error:
        raise InvalidRequestError(FieldProblem(field, f"is no ABI encoding of {named}")) from error
    return values


def encode(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return the encoding of values.

    Raises:
        EncodingError: a value does not fit its type.
    """
    try:
        return abi.encode(types, values)
    except (AbiEncodingError, OverflowError, UnicodeEncodeError, ValueError, TypeError) as error:
        raise EncodingError(
            f"the workflow's reply does not fit ({','.join(types)}): {type(error).__name__}"
        ) from error


def encode_data(types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return the encoding of what a caller sent.

    Raises:
        InvalidRequestError: a value does not fit its type.
    """
    try:
        return encode(types, values)
    except EncodingError as error:
        reason = f"does not fit ({','.join(types)}), which the contract reads"
        raise InvalidRequestError(FieldProblem("data", reason)) from error


def laid_out(layout: ChainLayout, types: Sequence[str], values: Sequence[Any]) -> tuple[bytes, bytes]:
    """Return the raw and the processed bytes of a reply.

    Exact: the tuple, and nothing. Wrapped: one or two texts or byte strings, bare, so that the node's own
    ``(bytes,bytes)`` reads as the tuple.

    Raises:
        EncodingError: a value does not fit its type.
    """
    if layout is ChainLayout.EXACT or not fits_wrapping(types):
        return encode(types, values), b""
    encode(types, values)  # for its checks
    raw, *processed = (value.encode() if isinstance(value, str) else bytes(value) for value in values)
    return raw, processed[0] if processed else b""


def fits_wrapping(types: Sequence[str]) -> bool:
    """Tell whether the node's wrapping can read as a tuple of these types."""
    return 0 < len(types) <= MAX_WRAPPED and PLAIN_TYPES.issuperset(types)
