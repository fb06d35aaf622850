"""DataAttestation on a real EVM: right data passes, and each way to be wrong has an error of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from ezkl_calldata import (
    MODULUS,
    AttestationCall,
    VerifyCall,
    encode_attestation_call,
    encode_verify_call,
    fixed_point_from_real,
)
from tests.contracts import attestation_contract, store_contract, verifier_bytecode
from tests.evm import Chain, DeploymentError, Outcome
from tests.integration.ezkl_proof.conftest import Proven

RAW, UNSIGNED, SIGNED, SIGNED_ARRAY = range(4)
CONSTRUCTOR = ("address[]", "(address,uint8,uint8,uint8,uint32,bytes)[]", "uint256")


def selector(signature: str) -> bytes:
    return function_signature_to_4byte_selector(signature)


def address_bytes(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


@dataclass
class Setting:
    """A chain with a verifier, a store and an attestation for one circuit."""

    chain: Chain
    verifier: str
    store: str
    attestation: str
    case: Proven

    @property
    def verify_call(self) -> VerifyCall:
        return VerifyCall(self.case.proof.data, self.case.proof.instances)

    def attest(self, encoded: bytes | None = None, verifier: str | None = None) -> Outcome:
        """Call verifyWithDataAttestation."""
        encoded = encode_verify_call(self.verify_call) if encoded is None else encoded
        to = address_bytes(verifier or self.verifier)
        calldata = selector("verifyWithDataAttestation(address,bytes)") + encode(
            ["address", "bytes"], [to, encoded]
        )
        return self.chain.call(self.attestation, calldata)


def setting(case: Proven, source: tuple[Any, ...], first_instance: int = 0) -> Setting:
    """``source`` is all of a Source but its account: (kind, decimals, scale, numInstances, callData)."""
    chain = Chain()
    verifier = chain.deploy(verifier_bytecode(case.circuit))
    store = chain.deploy(store_contract().bytecode)
    arguments = ([verifier], [(store, *source)], first_instance)
    attestation = chain.deploy(attestation_contract().bytecode, CONSTRUCTOR, arguments)
    return Setting(chain, verifier, store, attestation, case)


@pytest.fixture
def by_hash(hashed: Proven) -> Setting:
    """The stored hash is the input's."""
    made = setting(hashed, (RAW, 0, 0, 1, selector("hash()")))
    made.chain.send(made.store, "setHash(uint256)", hashed.proof.instances[0])
    return made


@pytest.fixture
def by_values(public: Proven) -> Setting:
    """The stored values, in thousandths, are the inputs."""
    made = setting(public, (SIGNED_ARRAY, 3, 7, 16, selector("values()")))
    made.chain.send(made.store, "set(int256[])", thousandths(public.inputs))
    return made


def thousandths(values: Iterable[float]) -> list[int]:
    return [round(value * 1000) for value in values]


def test_a_proof_of_the_stored_hash_passes(by_hash: Setting) -> None:
    outcome = by_hash.attest()

    assert outcome.succeeded
    assert int.from_bytes(outcome.output) == 1


def test_a_proof_of_the_stored_values_passes(by_values: Setting) -> None:
    assert by_values.attest().succeeded


def test_ezkls_word_of_zeros_is_taken(by_hash: Setting) -> None:
    assert by_hash.attest(encode_verify_call(by_hash.verify_call) + bytes(32)).succeeded


def test_the_calldata_layer_makes_the_call(by_hash: Setting) -> None:
    call = AttestationCall(address_bytes(by_hash.verifier), by_hash.verify_call)

    assert by_hash.chain.call(by_hash.attestation, encode_attestation_call(call)).succeeded


def test_a_source_that_is_called_with_an_argument_passes_too(hashed: Proven) -> None:
    # read from storage, where the usual source lies in the code
    made = setting(hashed, (RAW, 0, 0, 1, selector("echo(uint256)") + hashed.proof.instances[0].to_bytes(32)))

    assert made.attest().succeeded


def test_a_second_source_and_a_second_verifier_pass_too(public: Proven) -> None:
    chain = Chain()
    verifiers = [chain.deploy(verifier_bytecode(public.circuit)) for _ in range(2)]
    store = chain.deploy(store_contract().bytecode)
    values = [
        (store, SIGNED, 3, 7, 1, selector("echo(int256)") + encode(["int256"], [value]))
        for value in (thousandths(public.inputs))
    ]
    attestation = chain.deploy(attestation_contract().bytecode, CONSTRUCTOR, (verifiers, values, 0))
    made = Setting(chain, verifiers[1], store, attestation, public)

    assert made.attest().succeeded


def test_other_stored_data_is_a_mismatch(by_hash: Setting, by_values: Setting) -> None:
    by_hash.chain.send(by_hash.store, "setHash(uint256)", 12345)
    proven = by_hash.case.proof.instances[0]
    assert by_hash.attest().reverted_with("InstanceMismatch(uint256,uint256,uint256)", 0, 12345, proven)

    values = thousandths(by_values.case.inputs)
    values[9] = -values[9]
    by_values.chain.send(by_values.store, "set(int256[])", values)
    expected = fixed_point_from_real(values[9] / 1000, 7) % MODULUS
    proven = by_values.case.proof.instances[9]
    outcome = by_values.attest()
    assert outcome.reverted_with("InstanceMismatch(uint256,uint256,uint256)", 9, expected, proven)


def test_a_tampered_proof_is_rejected(by_hash: Setting) -> None:
    proof = bytearray(by_hash.case.proof.data)
    proof[1000] ^= 1

    outcome = by_hash.attest(encode_verify_call(replace(by_hash.verify_call, proof=bytes(proof))))

    assert outcome.reverted_with("ProofRejected()")


def test_another_action_is_rejected(by_hash: Setting) -> None:
    digest, action = by_hash.case.proof.instances
    call = replace(by_hash.verify_call, instances=(digest, (action + 1) % 3))

    assert by_hash.attest(encode_verify_call(call)).reverted_with("ProofRejected()")


def moved(call: VerifyCall, decoys: tuple[int, ...]) -> bytes:
    """The same call with decoy instances in the canonical place and the real ones behind."""
    calldata = bytearray(encode_verify_call(replace(call, instances=decoys)))
    real = len(call.instances).to_bytes(32) + b"".join(felt.to_bytes(32) for felt in call.instances)
    offset = len(calldata) - 4
    calldata[4 + 32 : 4 + 64] = offset.to_bytes(32)
    return bytes(calldata) + real


def test_decoy_instances_fool_the_verifier_and_not_the_attestation(by_hash: Setting) -> None:
    encoded = moved(by_hash.verify_call, (123, 1))
    assert by_hash.chain.call(by_hash.verifier, encoded).succeeded

    assert by_hash.attest(encoded).reverted_with("CallNotCanonical()")


@pytest.mark.parametrize(
    "change",
    [
        lambda calldata: calldata + bytes(31),
        lambda calldata: calldata + bytes(64),
        lambda calldata: calldata + b"\0" * 31 + b"\1",
        lambda calldata: calldata[:-1],
        lambda calldata: calldata[:40],
        lambda calldata: calldata[:4] + (96).to_bytes(32) + calldata[36:],
        lambda calldata: calldata[:68] + (2**255).to_bytes(32) + calldata[100:],
        lambda calldata: calldata[:36] + (2**255).to_bytes(32) + calldata[68:],
        lambda calldata: calldata[:-96] + (2**255).to_bytes(32) + calldata[-64:],
    ],
)
def test_any_other_form_of_the_call_is_not_canonical(by_hash: Setting, change: Any) -> None:
    encoded = encode_verify_call(by_hash.verify_call)

    assert by_hash.attest(change(encoded)).reverted_with("CallNotCanonical()")


def test_bytes_in_the_padding_of_a_proof_are_not_canonical(by_hash: Setting) -> None:
    call = replace(by_hash.verify_call, proof=by_hash.case.proof.data[:-5])
    encoded = bytearray(encode_verify_call(call))
    assert by_hash.attest(bytes(encoded)).reverted_with("ProofRejected()")  # canonical, and no proof

    encoded[4 + 96 + len(by_hash.case.proof.data) - 1] = 1

    assert by_hash.attest(bytes(encoded)).reverted_with("CallNotCanonical()")


@pytest.mark.parametrize("encoded", [b"", b"\x1e\x8e\x1e", b"\x34\x09\xfc\x9f" + bytes(200)])
def test_another_function_is_refused(by_hash: Setting, encoded: bytes) -> None:
    assert by_hash.attest(encoded).reverted_with("CallNotVerifyProof()")


def test_a_verifier_that_is_not_allowed_is_refused(by_hash: Setting) -> None:
    twin = by_hash.chain.deploy(verifier_bytecode(by_hash.case.circuit))
    nobody = "0x" + "99" * 20

    for address in (twin, nobody):
        outcome = by_hash.attest(verifier=address)
        assert outcome.reverted_with("VerifierNotAllowed(address)", address)


def test_an_account_without_code_cannot_be_a_verifier_or_a_source(hashed: Proven) -> None:
    chain = Chain()
    verifier = chain.deploy(verifier_bytecode(hashed.circuit))
    nobody = "0x" + "99" * 20
    source = (RAW, 0, 0, 1, b"")
    for verifiers, account in (([nobody], verifier), ([verifier], nobody)):
        arguments = (verifiers, [(account, *source)], 0)
        with pytest.raises(DeploymentError) as caught:
            chain.deploy(attestation_contract().bytecode, CONSTRUCTOR, arguments)
        assert caught.value.outcome.reverted_with("AccountWithoutCode(address)", nobody)


@pytest.mark.parametrize(
    ("source", "error", "values"),
    [
        ((RAW, 0, 0, 2, b""), "SourceInvalid(uint256)", [0]),
        ((SIGNED_ARRAY, 0, 0, 0, b""), "SourceInvalid(uint256)", [0]),
        ((SIGNED, 37, 0, 1, b""), "SourceInvalid(uint256)", [0]),
        ((SIGNED, 0, 129, 1, b""), "SourceInvalid(uint256)", [0]),
    ],
)
def test_a_source_that_makes_no_sense_is_refused(
    hashed: Proven, source: tuple[Any, ...], error: str, values: list[int]
) -> None:
    with pytest.raises(DeploymentError) as caught:
        setting(hashed, source)

    assert caught.value.outcome.reverted_with(error, *values)


def test_no_verifiers_or_sources_are_refused(hashed: Proven) -> None:
    chain = Chain()
    verifier = chain.deploy(verifier_bytecode(hashed.circuit))
    for verifiers, sources, error in (
        ([], [(verifier, RAW, 0, 0, 1, b"")], "NoVerifiers()"),
        ([verifier], [], "NoSources()"),
    ):
        with pytest.raises(DeploymentError) as caught:
            chain.deploy(attestation_contract().bytecode, CONSTRUCTOR, (verifiers, sources, 0))
        assert caught.value.outcome.reverted_with(error)


def test_a_source_that_fails_is_named(hashed: Proven) -> None:
    made = setting(hashed, (RAW, 0, 0, 1, selector("broken()")))

    assert made.attest().reverted_with("SourceFailed(uint256)", 0)


@pytest.mark.parametrize("answer", [b"", bytes(31), bytes(64)])
def test_a_source_that_answers_otherwise_is_named(hashed: Proven, answer: bytes) -> None:
    made = setting(hashed, (RAW, 0, 0, 1, selector("raw()")))
    made.chain.send(made.store, "setRaw(bytes)", answer)

    assert made.attest().reverted_with("SourceAnswerMalformed(uint256)", 0)


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: [*v, 0], lambda _: []])
def test_an_array_of_another_length_is_malformed(by_values: Setting, change: Any) -> None:
    by_values.chain.send(by_values.store, "set(int256[])", change(thousandths(by_values.case.inputs)))

    assert by_values.attest().reverted_with("SourceAnswerMalformed(uint256)", 0)


@pytest.mark.parametrize("kind", [RAW, UNSIGNED, SIGNED])
@pytest.mark.parametrize("value", [MODULUS, 2**255 - 1])
def test_a_value_outside_of_the_field_is_named(hashed: Proven, kind: int, value: int) -> None:
    made = setting(hashed, (kind, 0, 0, 1, selector("hash()")))
    made.chain.send(made.store, "setHash(uint256)", value)

    assert made.attest().reverted_with("ValueOutOfField(uint256)", 0)


def test_a_value_that_its_scale_lifts_out_of_256_bits_is_named(hashed: Proven) -> None:
    made = setting(hashed, (SIGNED, 0, 128, 1, selector("hash()")))
    for value in (2**200, 2**256 - 2**200, 2**255):
        made.chain.send(made.store, "setHash(uint256)", value)
        assert made.attest().reverted_with("ValueOutOfField(uint256)", 0)


def test_more_data_than_instances_is_missing_an_instance(hashed: Proven) -> None:
    made = setting(hashed, (RAW, 0, 0, 1, selector("hash()")), first_instance=2)

    assert made.attest().reverted_with("InstanceMissing(uint256)", 2)


@pytest.mark.parametrize(
    ("stored", "decimals", "scale"),
    [
        (1500, 3, 7),
        (-1500, 3, 7),
        (4, 3, 7),
        (-4, 3, 7),
        (3, 3, 7),
        (0, 0, 7),
        (-1, 9, 7),
        (7, 0, 0),
        (-7, 0, 0),
    ],
)
def test_values_are_rounded_as_the_circuit_rounds_them(
    hashed: Proven, stored: int, decimals: int, scale: int
) -> None:
    made = setting(hashed, (SIGNED, decimals, scale, 1, selector("value()")))
    made.chain.send(made.store, "set(int256[])", [stored])
    expected = fixed_point_from_real(stored / 10**decimals, scale) % MODULUS
    proven = hashed.proof.instances[0]

    # the instance is a hash, so the values differ, and the error tells what was made of the stored one
    outcome = made.attest()
    assert outcome.reverted_with("InstanceMismatch(uint256,uint256,uint256)", 0, expected, proven)
