"""Contract ABI, strictly: calldata is taken in its canonical form alone.

A contract follows the offsets in its calldata, so the same call can be written in many ways, with decoys in
the places where a careless reader looks. Here, what was decoded must encode to the very same bytes.
(https://docs.soliditylang.org/en/latest/abi-spec.html)
"""

from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from ezkl_calldata.errors import CalldataError

SELECTOR_BYTES = 4
WORD = 32


def encode_call(selector: bytes, types: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return a call's calldata in its canonical form."""
    return selector + encode(types, values)


def decode_call(
    calldata: bytes, selector: bytes, types: Sequence[str], *, allows_zero_word: bool = False
) -> tuple[Any, ...]:
    """Return the arguments of a call.

    Args:
        calldata: selector and arguments.
        selector: the one expected.
        types: of the arguments.
        allows_zero_word: whether one word of zeros may follow, as EZKL appends it.

    Raises:
        CalldataError: another selector, lengths that do not hold, or another form than the canonical one.
    """
    if calldata[:SELECTOR_BYTES] != selector:
        raise CalldataError(f"the selector is not 0x{selector.hex()}")
    arguments = calldata[SELECTOR_BYTES:]
    try:
        values: tuple[Any, ...] = decode(types, arguments)
    except (DecodingError, OverflowError, ValueError) as error:
        raise CalldataError(f"the arguments are not ABI-encoded: {error}") from error
    canonical = encode(types, values)
    if arguments != canonical and not (allows_zero_word and arguments == canonical + bytes(WORD)):
        raise CalldataError("the arguments are not in canonical form")
    return values
