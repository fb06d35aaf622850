"""EZKL's proof, as ``ezkl.prove`` returns it and writes it to a file, made plain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ezkl_calldata.errors import CalldataError
from ezkl_calldata.field import felt_from_ezkl_hex


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof and what it is about.

    Attributes:
        data: the proof's bytes.
        instances: its public inputs and outputs, as felts, in the order of the verifier contract.
    """

    data: bytes
    instances: tuple[int, ...]


def read_proof(raw: Mapping[str, Any]) -> Proof:
    """Return the proof in EZKL's dictionary.

    Args:
        raw: ``instances`` is a list of columns of felts in hex; ``proof`` is a list of bytes.

    Raises:
        CalldataError: it has another form.
    """
    try:
        columns, data = raw["instances"], raw["proof"]
    except (KeyError, TypeError) as error:
        raise CalldataError("a proof has instances and proof") from error
    if not isinstance(columns, list) or not all(isinstance(column, list) for column in columns):
        raise CalldataError("instances must be a list of lists")
    felts = [felt for column in columns for felt in column]
    if not all(isinstance(felt, str) for felt in felts):
        raise CalldataError("instances must be hex strings")
    return Proof(_bytes(data), tuple(map(felt_from_ezkl_hex, felts)))


def _bytes(data: Any) -> bytes:
    if isinstance(data, str):  # the older form
        try:
            return bytes.fromhex(data.removeprefix("0x"))
        except ValueError as error:
            raise CalldataError("the proof is not hex") from error
    if not isinstance(data, list) or not all(type(byte) is int for byte in data):
        raise CalldataError("the proof must be a list of bytes")
    try:
        return bytes(data)
    except ValueError as error:
        raise CalldataError("the proof has numbers that are no bytes") from error
