"""Numbers as contracts hold them: integers in decimals (1e18), and integers in powers of two in circuits.

All arithmetic is on integers. Halves round away from zero, as EZKL quantises and as ``DataAttestation.sol``
compares. Several numbers become the same integer: the rules are many-to-one.
"""

import math
from fractions import Fraction

DECIMALS = 18
"""Of contracts, where nothing else is said."""


def decimals_from_real(number: float, decimals: int = DECIMALS) -> int:
    """Return ``round(number * 10**decimals)``, exactly.

    Raises:
        ValueError: the number is not finite.
    """
    if not math.isfinite(number):
        raise ValueError("the number is not finite")
    return _rounded(Fraction(number) * 10**decimals)


def real_from_decimals(number: int, decimals: int = DECIMALS) -> float:
    """Return the real number next to ``number / 10**decimals``.

    Raises:
        OverflowError: there is none.
    """
    return float(Fraction(number, 10**decimals))


def binary_from_decimals(number: int, decimals: int, scale: int) -> int:
    """Return ``round(number * 2**scale / 10**decimals)``: what a circuit's instance is on chain.

    The same rule as ``_felt`` of ``DataAttestation.sol``.
    """
    return _rounded(Fraction(number * 2**scale, 10**decimals))


def _rounded(number: Fraction) -> int:
    magnitude = math.floor(abs(number) + Fraction(1, 2))
    return -magnitude if number < 0 else magnitude
