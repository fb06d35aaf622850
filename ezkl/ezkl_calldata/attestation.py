"""Calls of ``verifyWithDataAttestation(address,bytes)``: see ``contracts/DataAttestation.sol``."""

from dataclasses import dataclass

from ezkl_calldata.abi import decode_call, encode_call
from ezkl_calldata.errors import CalldataError
from ezkl_calldata.verify_call import ADDRESS_BYTES, VerifyCall, decode_verify_call, encode_verify_call

SELECTOR = bytes.fromhex("4c7985d0")
TYPES = ("address", "bytes")


@dataclass(frozen=True, slots=True)
class AttestationCall:
    """A call that checks a proof and that its instances are the data on chain.

    Attributes:
        verifier: address of the verifier contract, 20 bytes.
        verify_call: the ``verifyProof`` call it is given.
    """

    verifier: bytes
    verify_call: VerifyCall


def encode_attestation_call(call: AttestationCall) -> bytes:
    """Return the calldata in its canonical form.

    Raises:
        CalldataError: the address has another length.
    """
    if len(call.verifier) != ADDRESS_BYTES:
        raise CalldataError(f"an address has {ADDRESS_BYTES} bytes")
    return encode_call(SELECTOR, TYPES, (call.verifier, encode_verify_call(call.verify_call)))


def decode_attestation_call(calldata: bytes) -> AttestationCall:
    """Return what a ``verifyWithDataAttestation`` call says.

    Raises:
        CalldataError: it is no such call, or it or the call inside is not in canonical form.
    """
    verifier, encoded = decode_call(calldata, SELECTOR, TYPES)
    return AttestationCall(bytes.fromhex(verifier.removeprefix("0x")), decode_verify_call(encoded))
