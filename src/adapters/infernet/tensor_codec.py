"""``TensorCodec``: tensors each way, with their shape and type.

In ``data`` a tensor is ``{"inputs": [row-major numbers], "shape": [2, 2], "dtype": "float32"}``, with
``"decimals"`` where it is in fixed point. A reply has ``outputs`` in place of ``inputs``, as a flat list with
a shape or as nested lists, and may leave out everything else.
"""

from math import prod
from typing import Any

from adapters.infernet import abi
from adapters.infernet.reply_fields import field_of, proof_of
from adapters.infernet.ritual_vector import (
    MAX_DECIMALS,
    DataType,
    RitualVector,
    decode_vector,
    encode_vector,
)
from domain.chain import ChainReply
from domain.errors import ConfigurationError, EncodingError, FieldProblem, InvalidRequestError
from domain.fixed_point import DECIMALS
from domain.requests import RequestData

TYPES = ("bytes", "bytes")
DATA_TYPES = {dtype.name.lower(): dtype for dtype in DataType}
MAX_DIMENSIONS = 32
"""No tensor needs more."""
MAX_SIZE = 2**16 - 1
"""Of one dimension, as a shape holds it."""


class TensorCodec:
    """A tensor each way; the model is the service's own, whatever ``modelId`` says.

    Both layouts are the same: the wrapping cannot read as a tensor.

    Args:
        dtype: of what is written where the tensor itself names none. None: whole numbers become int64, others
            float128 in fixed point.
        decimals: write reals in fixed point of so many decimals. None: with a dtype, as IEEE 754 bits;
            without one, 18.
    """

    def __init__(self, dtype: str | None, decimals: int | None) -> None:
        self._options = {"dtype": dtype, "decimals": decimals}
        try:
            _vector([], self._options)
        except _TensorError as error:
            raise ConfigurationError(f"codec tensor: {error.field} {error.reason}") from error

    def decode(self, data: bytes) -> RequestData:
        _, encoded = abi.decode(TYPES, data)
        vector = decode_vector(encoded, "data.vector")
        return {
            "inputs": list(vector.values),
            "shape": list(vector.shape),
            "dtype": vector.dtype.name.lower(),
            **({} if vector.decimals is None else {"decimals": vector.decimals}),
        }

    def check_input(self, data: RequestData) -> None:
        self._input(data)

    def encode(self, reply: str | dict[str, Any], data: RequestData, raw_input: bytes | None) -> ChainReply:
        outputs = field_of(reply, "outputs")
        try:
            raw_output = self._written(outputs, reply)
        except _TensorError as error:
            field = error.field or "outputs"
            raise EncodingError(f"the field {field} of the workflow's reply {error.reason}") from error
        return ChainReply(
            raw_input=self._input(data) if raw_input is None else raw_input,
            raw_output=raw_output,
            proof=proof_of(reply),
        )

    def _input(self, data: RequestData) -> bytes:
        values = data.get("inputs") if isinstance(data, dict) else data
        try:
            vector = self._written(values, data)
        except _TensorError as error:
            raise InvalidRequestError(
                FieldProblem(f"data.{error.field or 'inputs'}", error.reason)
            ) from error
        return abi.encode_data(TYPES, (b"", vector))

    def _written(self, values: Any, fields: Any) -> bytes:
        given = fields if isinstance(fields, dict) else {}
        own = {name: given[name] for name in ("dtype", "decimals", "shape") if name in given}
        # decimals belong to the dtype that they were declared with
        options = own if "dtype" in own else self._options | own
        try:
            return encode_vector(_vector(values, options))
        except EncodingError as error:
            raise _TensorError("", "holds a number, or has a size, that its type does not") from error


class _TensorError(Exception):
    """What is wrong with a tensor; the field is empty where it is its values."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field)
        self.field = field
        self.reason = reason


def _vector(values: Any, options: dict[str, Any]) -> RitualVector:
    dtype_name, decimals = options.get("dtype"), options.get("decimals")
    dtype = DATA_TYPES.get(dtype_name) if isinstance(dtype_name, str) else None
    if dtype is None and dtype_name is not None:
        raise _TensorError("dtype", f"should be one of {', '.join(DATA_TYPES)}")
    if decimals is not None:
        if not _is_whole(decimals, MAX_DECIMALS):
            raise _TensorError("decimals", f"should be a whole number up to {MAX_DECIMALS}")
        if dtype is not None and not dtype.is_float:
            raise _TensorError("decimals", "are of reals: leave them out, or take a float dtype")
    shape, numbers = _row_major(values, takes_booleans=dtype is DataType.BOOL)
    if options.get("shape") is not None:
        shape = _shape(options["shape"], len(numbers))
    if dtype is None:
        is_integer = decimals is None and all(isinstance(number, int) for number in numbers)
        dtype = DataType.INT64 if is_integer else DataType.FLOAT128
        decimals = None if is_integer else DECIMALS if decimals is None else decimals
    return RitualVector(dtype, shape, tuple(numbers), decimals)


def _row_major(values: Any, *, takes_booleans: bool) -> tuple[tuple[int, ...], list[Any]]:
    if not isinstance(values, list):
        raise _TensorError("", "should be a list of numbers")
    shape: list[int] = []
    level = [values]
    while level and len(shape) < MAX_DIMENSIONS and all(isinstance(item, list) for item in level):
        if len({len(item) for item in level}) > 1:
            break
        shape.append(len(level[0]))
        level = [inner for item in level for inner in item]
    for number in level:
        if not isinstance(number, int | float) or (isinstance(number, bool) and not takes_booleans):
            raise _TensorError("", "should be a list of numbers, or of lists of the same size")
    return tuple(shape), level


def _shape(shape: Any, num_values: int) -> tuple[int, ...]:
    is_shape = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS
    if not is_shape or not all(_is_whole(size, MAX_SIZE) for size in shape) or prod(shape) != num_values:
        raise _TensorError("shape", f"should be a list of sizes whose product is {num_values}")
    return tuple(shape)


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
