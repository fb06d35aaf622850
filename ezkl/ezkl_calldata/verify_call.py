"""Calls of ``verifyProof``, in the three forms that EZKL's verifiers have had.

=====================================  ============  =======================================================
function                               selector      verifier
=====================================  ============  =======================================================
``verifyProof(bytes,uint256[])``       0x1e8e1e13    with a verifying key of its own
``verifyProof(bytes,uint256[],         0x3409fc9f    reusable, told the verifying key as words
bytes32[])``
``verifyProof(address,bytes,           0xaf83a18d    reusable, told the address of a verifying key (older)
uint256[])``
=====================================  ============  =======================================================
"""

from dataclasses import dataclass

from ezkl_calldata.abi import SELECTOR_BYTES, decode_call, encode_call
from ezkl_calldata.errors import CalldataError
from ezkl_calldata.field import checked_felt

OWN_KEY_SELECTOR = bytes.fromhex("1e8e1e13")
VKA_SELECTOR = bytes.fromhex("3409fc9f")
KEY_ADDRESS_SELECTOR = bytes.fromhex("af83a18d")

OWN_KEY_TYPES = ("bytes", "uint256[]")
VKA_TYPES = ("bytes", "uint256[]", "bytes32[]")
KEY_ADDRESS_TYPES = ("address", "bytes", "uint256[]")

ADDRESS_BYTES = 20
WORD = 32


@dataclass(frozen=True, slots=True)
class VerifyCall:
    """A call of ``verifyProof``; at most one of ``vka`` and ``key_address`` is given.

    Attributes:
        proof: the proof's bytes.
        instances: felts.
        vka: words of the verifying key, 32 bytes each.
        key_address: of the contract that holds the verifying key, 20 bytes.

    Raises:
        CalldataError: an instance is not in the field, or a length is wrong.
    """

    proof: bytes
    instances: tuple[int, ...]
    vka: tuple[bytes, ...] | None = None
    key_address: bytes | None = None

    def __post_init__(self) -> None:
        for felt in self.instances:
            checked_felt(felt)
        if self.vka is not None and self.key_address is not None:
            raise CalldataError("a verifier takes a verifying key as words or by its address, not both")
        if self.vka is not None and any(len(word) != WORD for word in self.vka):
            raise CalldataError(f"a word of a verifying-key artefact has {WORD} bytes")
        if self.key_address is not None and len(self.key_address) != ADDRESS_BYTES:
            raise CalldataError(f"an address has {ADDRESS_BYTES} bytes")


def encode_verify_call(call: VerifyCall) -> bytes:
    """Return the calldata, canonical: without the zero word that EZKL appends to the first form."""
    if call.vka is not None:
        return encode_call(VKA_SELECTOR, VKA_TYPES, (call.proof, call.instances, call.vka))
    if call.key_address is not None:
        arguments = (call.key_address, call.proof, call.instances)
        return encode_call(KEY_ADDRESS_SELECTOR, KEY_ADDRESS_TYPES, arguments)
    return encode_call(OWN_KEY_SELECTOR, OWN_KEY_TYPES, (call.proof, call.instances))


def decode_verify_call(calldata: bytes) -> VerifyCall:
    """Return what a ``verifyProof`` call says.

    Raises:
        CalldataError: it is no such call, is not in canonical form (one zero word at the end is tolerated
            with the first selector, as EZKL appends it), or an instance is not in the field.
    """
    match calldata[:SELECTOR_BYTES]:
        case selector if selector == OWN_KEY_SELECTOR:
            proof, instances = decode_call(calldata, selector, OWN_KEY_TYPES, allows_zero_word=True)
            return VerifyCall(proof, tuple(instances))
        case selector if selector == VKA_SELECTOR:
            proof, instances, vka = decode_call(calldata, selector, VKA_TYPES)
            return VerifyCall(proof, tuple(instances), vka=tuple(vka))
        case selector if selector == KEY_ADDRESS_SELECTOR:
            address, proof, instances = decode_call(calldata, selector, KEY_ADDRESS_TYPES)
            return VerifyCall(proof, tuple(instances), key_address=bytes.fromhex(address.removeprefix("0x")))
        case _:
            raise CalldataError("this is no call of verifyProof")
