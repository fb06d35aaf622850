"""``RitualVector``: tensors on chain, as infernet-ml's services and contracts write them.

``(uint8 arithmetic, uint8 decimals, uint8 dtype, uint16[] shape, intN[] values)``; N follows from the dtype.
Arithmetic 0 holds the bits of IEEE 754 numbers (and integers as they are), arithmetic 1 fixed point: integers
that stand for ``value / 10**decimals``. The wide floats (float128, float256) hold the bits of a double.
(infernet_ml.utils.codec.vector, 2.0.0)
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite, prod

from adapters.infernet import abi
from domain.errors import EncodingError, FieldProblem, InvalidRequestError
from domain.fixed_point import decimals_from_real, real_from_decimals

HEAD_TYPES = ("uint8", "uint8", "uint8", "uint16[]")
MAX_DECIMALS = 77
"""10**77 is the largest power of ten below 2**256."""


class Arithmetic(IntEnum):
    """What the values are."""

    IEEE = 0
    FIXED_POINT = 1


class DataType(IntEnum):
    """The tensor's own type. Complex numbers are not taken."""

    FLOAT16 = 0
    FLOAT32 = 1
    FLOAT64 = 2
    FLOAT128 = 3
    FLOAT256 = 4
    INT8 = 5
    INT16 = 6
    INT32 = 7
    INT64 = 8
    UINT8 = 9
    UINT16 = 10
    UINT32 = 11
    UINT64 = 12
    BOOL = 15

    @property
    def solidity_type(self) -> str:
        """Of one value."""
        name = self.name.lower()
        return name.replace("float", "int") if self.is_float else name

    @property
    def is_float(self) -> bool:
        """Whether values are reals."""
        return self <= DataType.FLOAT256


IEEE_FORMATS = {
    DataType.FLOAT16: (">e", ">h"),
    DataType.FLOAT32: (">f", ">i"),
    DataType.FLOAT64: (">d", ">q"),
    DataType.FLOAT128: (">d", ">q"),
    DataType.FLOAT256: (">d", ">q"),
}


@dataclass(frozen=True, slots=True)
class RitualVector:
    """A tensor: its values in row-major order, and the decimals of reals that are in fixed point."""

    dtype: DataType
    shape: tuple[int, ...]
    values: tuple[int | float, ...]
    decimals: int | None = None


def decode_vector(data: bytes, field: str) -> RitualVector:
    """Read a tensor.

    Raises:
        InvalidRequestError: it is none; names ``field``.
    """

    def refused(reason: str) -> InvalidRequestError:
        return InvalidRequestError(FieldProblem(field, reason))

    arithmetic, decimals, dtype_number, shape = abi.decode(HEAD_TYPES, data, field)
    try:
        dtype = DataType(dtype_number)
    except ValueError:
        raise refused(f"has the dtype {dtype_number}, which is not taken") from None
    values = abi.decode((*HEAD_TYPES, f"{dtype.solidity_type}[]"), data, field)[-1]
    if prod(shape) != len(values):
        raise refused(f"has {len(values)} values for the shape {list(shape)}")
    if not dtype.is_float:
        return RitualVector(dtype, shape, tuple(map(int, values)))
    match arithmetic:
        case Arithmetic.IEEE:
            reals = _reals_of_bits(dtype, values)
            if reals is None:
                raise refused("has values outside of their type")
        case Arithmetic.FIXED_POINT if decimals <= MAX_DECIMALS:
            reals = tuple(real_from_decimals(value, decimals) for value in values)
            return RitualVector(dtype, shape, reals, decimals)
        case Arithmetic.FIXED_POINT:
            raise refused(f"has {decimals} decimals; at most {MAX_DECIMALS} are taken")
        case _:
            raise refused(f"has the arithmetic {arithmetic}; 0 and 1 are known")
    if not all(map(isfinite, reals)):
        raise refused("has values that are not finite")
    return RitualVector(dtype, shape, reals)


def encode_vector(vector: RitualVector) -> bytes:
    """Write a tensor; in fixed point halves round away from zero, in IEEE 754 to even.

    Raises:
        EncodingError: a value does not fit its type.
    """
    arithmetic = Arithmetic.IEEE if vector.decimals is None else Arithmetic.FIXED_POINT
    try:
        values = _written(vector)
    except (OverflowError, ValueError, struct.error) as error:
        raise EncodingError(f"a value does not fit {vector.dtype.name.lower()}") from error
    types = (*HEAD_TYPES, f"{vector.dtype.solidity_type}[]")
    return abi.encode(types, (int(arithmetic), vector.decimals or 0, int(vector.dtype), vector.shape, values))


def _written(vector: RitualVector) -> Sequence[int | bool]:
    if not vector.dtype.is_float:
        if any(int(value) != value for value in vector.values):
            raise ValueError("the number is not whole")
        if vector.dtype is not DataType.BOOL:
            return [int(value) for value in vector.values]
        if any(value not in {0, 1} for value in vector.values):
            raise ValueError("the number is neither 0 nor 1")
        return [bool(value) for value in vector.values]
    if vector.decimals is not None:
        return [decimals_from_real(value, vector.decimals) for value in vector.values]
    if not all(map(isfinite, vector.values)):
        raise ValueError("the number is not finite")
    as_real, as_bits = IEEE_FORMATS[vector.dtype]
    return [int(struct.unpack(as_bits, struct.pack(as_real, value))[0]) for value in vector.values]


def _reals_of_bits(dtype: DataType, values: Sequence[int]) -> tuple[float, ...] | None:
    as_real, as_bits = IEEE_FORMATS[dtype]
    try:
        return tuple(float(struct.unpack(as_real, struct.pack(as_bits, value))[0]) for value in values)
    except struct.error:
        return None
