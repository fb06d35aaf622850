"""What a deployment of ``DataAttestation`` sends behind the bytecode, and the contracts' sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError

from ezkl_calldata.errors import CalldataError

CONSTRUCTOR_TYPES = ("address[]", "(address,uint8,uint8,uint8,uint32,bytes)[]", "uint256")


class SourceKind(IntEnum):
    """How an answer on chain becomes instances: ``Kind`` of the contract."""

    RAW = 0
    UNSIGNED = 1
    SIGNED = 2
    SIGNED_ARRAY = 3


@dataclass(frozen=True, slots=True)
class AttestationSource:
    """A call on chain whose answer the next instances must be: ``Source`` of the contract.

    Attributes:
        account: address called, 20 bytes.
        kind: what it answers.
        decimals: the answer stands for ``answer / 10**decimals``.
        scale: binary digits after the point of the instances.
        num_instances: 1, but for arrays.
        calldata: selector and arguments of the call.
    """

    account: bytes
    kind: SourceKind
    decimals: int
    scale: int
    num_instances: int
    calldata: bytes


def encode_attestation_constructor(
    verifiers: Sequence[bytes], sources: Sequence[AttestationSource], first_instance: int = 0
) -> bytes:
    """Return the constructor's arguments.

    Args:
        verifiers: addresses that are allowed, 20 bytes each.
        sources: in the order of the instances.
        first_instance: instances before it are not attested.

    Raises:
        CalldataError: a value does not fit its type.
    """
    rows = [
        (
            source.account,
            int(source.kind),
            source.decimals,
            source.scale,
            source.num_instances,
            source.calldata,
        )
        for source in sources
    ]
    try:
        return encode(CONSTRUCTOR_TYPES, (list(verifiers), rows, first_instance))
    except EncodingError as error:
        raise CalldataError(f"no arguments of DataAttestation: {error}") from error


def contract_source(name: str) -> Path:
    """Return the file with the source of a contract of this package (``DataAttestation``, ``DataStore``)."""
    package = Path(__file__).parent
    installed = package / "contracts" / f"{name}.sol"
    return installed if installed.is_file() else package.parent / "contracts" / f"{name}.sol"
