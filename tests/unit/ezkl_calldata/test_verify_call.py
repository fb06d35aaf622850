"""Calldata of verifyProof: what is made reads back, and nothing else is read."""

from typing import Any

import pytest
from eth_abi.abi import decode, encode
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from ezkl_calldata import (
    MODULUS,
    AttestationCall,
    CalldataError,
    VerifyCall,
    attestation,
    decode_attestation_call,
    decode_verify_call,
    encode_attestation_call,
    encode_verify_call,
    verify_call,
)

felts = st.integers(0, MODULUS - 1)
words = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
proofs = st.binary(max_size=300)
keys: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.lists(words, max_size=5).map(lambda vka: {"vka": tuple(vka)}),
    addresses.map(lambda address: {"key_address": address}),
)
calls = st.builds(
    lambda proof, instances, key: VerifyCall(proof, tuple(instances), **key),
    proofs,
    st.lists(felts, max_size=8),
    keys,
)

EXAMPLE = VerifyCall(bytes(range(70)), (5, MODULUS - 1))


@pytest.mark.parametrize(
    ("signature", "selector"),
    [
        ("verifyProof(bytes,uint256[])", verify_call.OWN_KEY_SELECTOR),
        ("verifyProof(bytes,uint256[],bytes32[])", verify_call.VKA_SELECTOR),
        ("verifyProof(address,bytes,uint256[])", verify_call.KEY_ADDRESS_SELECTOR),
        ("verifyWithDataAttestation(address,bytes)", attestation.SELECTOR),
    ],
)
def test_selectors_are_those_of_the_signatures(signature: str, selector: bytes) -> None:
    assert function_signature_to_4byte_selector(signature) == selector


@given(calls)
def test_a_call_reads_back(call: VerifyCall) -> None:
    assert decode_verify_call(encode_verify_call(call)) == call


@given(calls, addresses)
def test_an_attested_call_reads_back(call: VerifyCall, verifier: bytes) -> None:
    attested = AttestationCall(verifier, call)

    assert decode_attestation_call(encode_attestation_call(attested)) == attested


@given(calls, st.data())
def test_no_other_bytes_read_as_the_same_call(call: VerifyCall, data: st.DataObject) -> None:
    calldata = encode_verify_call(call)
    position = data.draw(st.integers(0, len(calldata) - 1))
    changed = bytearray(calldata)
    changed[position] ^= data.draw(st.integers(1, 255))

    try:
        other = decode_verify_call(bytes(changed))
    except CalldataError:
        return
    assert other != call
    assert encode_verify_call(other) == bytes(changed)


@given(calls, st.integers(1, 100))
def test_calldata_that_is_cut_off_is_refused(call: VerifyCall, num_missing: int) -> None:
    with pytest.raises(CalldataError):
        decode_verify_call(encode_verify_call(call)[:-num_missing])


def test_one_zero_word_is_tolerated_where_ezkl_appends_it() -> None:
    assert decode_verify_call(encode_verify_call(EXAMPLE) + bytes(32)) == EXAMPLE


@pytest.mark.parametrize("extra", [bytes(31), bytes(33), bytes(64), bytes(31) + b"\1", b"\0"])
def test_any_other_extra_is_refused(extra: bytes) -> None:
    with pytest.raises(CalldataError):
        decode_verify_call(encode_verify_call(EXAMPLE) + extra)


@pytest.mark.parametrize("key", [{"vka": (bytes(32),)}, {"key_address": bytes(20)}])
def test_no_extra_is_tolerated_in_the_other_forms(key: dict[str, Any]) -> None:
    call = VerifyCall(b"proof", (1,), **key)

    with pytest.raises(CalldataError):
        decode_verify_call(encode_verify_call(call) + bytes(32))


def test_decoy_instances_in_the_usual_place_are_refused() -> None:
    canonical = encode(["bytes", "uint256[]"], [b"p" * 32, [7]])
    real = (1).to_bytes(32) + (9).to_bytes(32)
    moved = bytearray(canonical + real)
    moved[32:64] = len(canonical).to_bytes(32)  # the offset of the instances

    proof, instances = decode(["bytes", "uint256[]"], bytes(moved))
    assert (proof, instances) == (b"p" * 32, (9,))  # a contract reads these
    with pytest.raises(CalldataError, match="canonical"):
        decode_verify_call(verify_call.OWN_KEY_SELECTOR + bytes(moved))


@pytest.mark.parametrize("felt", [-1, MODULUS, 2**256 - 1])
def test_an_instance_outside_of_the_field_is_refused(felt: int) -> None:
    with pytest.raises(CalldataError, match="not in the field"):
        VerifyCall(b"", (felt,))


def test_an_instance_outside_of_the_field_is_refused_in_calldata() -> None:
    calldata = verify_call.OWN_KEY_SELECTOR + encode(["bytes", "uint256[]"], [b"p", [MODULUS]])

    with pytest.raises(CalldataError, match="not in the field"):
        decode_verify_call(calldata)


@pytest.mark.parametrize("calldata", [b"", b"\x1e", b"\x1e\x8e\x1e\x13", b"\xde\xad\xbe\xef" + bytes(96)])
def test_what_is_no_call_is_refused(calldata: bytes) -> None:
    with pytest.raises(CalldataError):
        decode_verify_call(calldata)
    with pytest.raises(CalldataError):
        decode_attestation_call(calldata)


def test_a_verifier_takes_one_kind_of_key() -> None:
    with pytest.raises(CalldataError, match="not both"):
        VerifyCall(b"", (), vka=(bytes(32),), key_address=bytes(20))
    with pytest.raises(CalldataError, match="20 bytes"):
        VerifyCall(b"", (), key_address=bytes(19))
    with pytest.raises(CalldataError, match="20 bytes"):
        encode_attestation_call(AttestationCall(bytes(21), EXAMPLE))
    with pytest.raises(CalldataError, match="32 bytes"):
        VerifyCall(b"", (), vka=(bytes(31),))
