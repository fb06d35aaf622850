"""Field elements ("felts") of BN254's scalar field, and the numbers they stand for.

An integer ``n`` is the felt ``n mod MODULUS``: negative numbers are the upper half of the field. A real
number is an integer in fixed point: ``floor(|x| * 2**scale + 1/2)`` with its sign, as EZKL quantises it.
"""

import math
from fractions import Fraction

from ezkl_calldata.errors import CalldataError

MODULUS = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""Order of BN254's scalar field (EIP-197)."""

FELT_BYTES = 32
MAX_SCALE = 128


def checked_felt(felt: int) -> int:
    """Return a felt that is in the field.

    Raises:
        CalldataError: it is not.
    """
    if not 0 <= felt < MODULUS:
        raise CalldataError(f"{felt} is not in the field")
    return felt


def felt_from_int(number: int) -> int:
    """Return the felt of a signed integer.

    Raises:
        CalldataError: the number is so large that its sign could not be told again.
    """
    if abs(number) > MODULUS // 2:
        raise CalldataError(f"{number} does not fit into the field with its sign")
    return number % MODULUS


def int_from_felt(felt: int) -> int:
    """Return the signed integer of a felt."""
    checked_felt(felt)
    return felt if felt <= MODULUS // 2 else felt - MODULUS


def fixed_point_from_real(number: float, scale: int) -> int:
    """Return a real number as a signed integer in fixed point, rounded half away from zero, exactly.

    Raises:
        CalldataError: the number is not finite, or the scale is out of range.
    """
    _check_scale(scale)
    if not math.isfinite(number):
        raise CalldataError(f"{number} is not a finite number")
    magnitude = math.floor(abs(Fraction(number)) * Fraction(2**scale) + Fraction(1, 2))
    return -magnitude if number < 0 else magnitude


def real_from_fixed_point(number: int, scale: int) -> float:
    """Return the real number of a signed integer in fixed point."""
    _check_scale(scale)
    return float(Fraction(number, 2**scale))


def felt_from_ezkl_hex(text: str) -> int:
    """Return the felt of 64 hex digits, least significant byte first, as EZKL writes them.

    Raises:
        CalldataError: it is something else, or not in the field.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise CalldataError("a felt must be hex digits") from error
    if len(data) != FELT_BYTES or len(text) != 2 * FELT_BYTES:
        raise CalldataError(f"a felt must be {FELT_BYTES} bytes in hex")
    return checked_felt(int.from_bytes(data, "little"))


def felt_to_ezkl_hex(felt: int) -> str:
    """Return a felt as EZKL writes it; the inverse of ``felt_from_ezkl_hex``."""
    return checked_felt(felt).to_bytes(FELT_BYTES, "little").hex()


def _check_scale(scale: int) -> None:
    if not 0 <= scale <= MAX_SCALE:
        raise CalldataError(f"a scale must be between 0 and {MAX_SCALE}")
