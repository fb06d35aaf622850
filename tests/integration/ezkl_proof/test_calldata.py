"""The calldata layer on real proofs, against EZKL's own encoder and a real EVM."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_folder import SETTINGS
from ezkl_calldata import (
    Proof,
    VerifyCall,
    decode_verify_call,
    encode_verify_call,
    felt_from_ezkl_hex,
    felt_from_int,
    felt_to_ezkl_hex,
    fixed_point_from_real,
    instance_layout,
    write_vka,
)
from tests.contracts import verifier_bytecode
from tests.evm import Chain
from tests.integration.ezkl_proof.conftest import Proven


@pytest.fixture(params=["hashed", "public", "integers"])
def case(request: pytest.FixtureRequest) -> Proven:
    proven: Proven = request.getfixturevalue(request.param)
    return proven


def calldata_of(case: Proven) -> bytes:
    return encode_verify_call(VerifyCall(case.proof.data, case.proof.instances))


def ezkls_own_calldata(raw: dict[str, Any], vka: str | None, proof_file: str) -> bytes:
    import ezkl as typed_ezkl  # noqa: PLC0415 - in the child alone

    ezkl: Any = typed_ezkl
    Path(proof_file).write_text(json.dumps(raw))
    arguments = {} if vka is None else {"vka_path": vka}
    return bytes(ezkl.encode_evm_calldata(proof=proof_file, calldata="/dev/null", **arguments))


def ezkls_form(proof: Proof) -> dict[str, Any]:
    felts = [felt_to_ezkl_hex(felt) for felt in proof.instances]
    return {
        "protocol": None,
        "instances": [felts],
        "proof": list(proof.data),
        "hex_proof": "0x" + proof.data.hex(),
        "split": None,
        "pretty_public_inputs": None,
        "timestamp": 0,
        "version": None,
    }


def test_it_is_ezkls_own_calldata_less_a_word_of_zeros(case: Proven, tmp_path: Path) -> None:
    theirs = in_child(ezkls_own_calldata, ezkls_form(case.proof), None, str(tmp_path / "proof.json"))

    assert theirs == calldata_of(case) + bytes(32)
    assert decode_verify_call(theirs) == decode_verify_call(calldata_of(case))


def test_with_a_verifying_key_artefact_it_is_ezkls_own(case: Proven, tmp_path: Path) -> None:
    words = tuple(bytes([i]) * 32 for i in range(5))
    (tmp_path / "vka").write_bytes(write_vka(words))
    theirs = in_child(
        ezkls_own_calldata, ezkls_form(case.proof), str(tmp_path / "vka"), str(tmp_path / "proof.json")
    )

    assert theirs == encode_verify_call(VerifyCall(case.proof.data, case.proof.instances, vka=words))


def test_the_verifier_contract_takes_it(case: Proven) -> None:
    chain = Chain()
    verifier = chain.deploy(verifier_bytecode(case.circuit))

    outcome = chain.call(verifier, calldata_of(case))

    assert outcome.succeeded
    assert int.from_bytes(outcome.output) == 1


def test_the_instances_read_as_what_the_model_was_given_and_said(public: Proven) -> None:
    settings = json.loads((public.circuit / SETTINGS).read_text())

    values = instance_layout(settings).values(public.proof.instances)

    assert values["inputs"] == pytest.approx(public.inputs, abs=0.5 / 2**7)
    felts = [felt_from_int(fixed_point_from_real(x, 7)) for x in public.inputs]
    assert list(public.proof.instances[:16]) == felts
    assert len(values["outputs"]) == 3


def poseidon_hash(felts: list[str]) -> str:
    import ezkl as typed_ezkl  # noqa: PLC0415 - in the child alone

    ezkl: Any = typed_ezkl
    return str(ezkl.poseidon_hash(felts)[0])


@pytest.mark.parametrize(("name", "scale"), [("hashed", 7), ("integers", 0)])
def test_a_hashed_input_is_the_poseidon_hash_of_its_felts(
    name: str, scale: int, request: pytest.FixtureRequest
) -> None:
    case: Proven = request.getfixturevalue(name)
    felts = [felt_to_ezkl_hex(felt_from_int(fixed_point_from_real(x, scale))) for x in case.inputs]

    digest = in_child(poseidon_hash, felts)

    assert case.proof.instances[0] == felt_from_ezkl_hex(digest)
    assert case.proof.instances[1] in {0, 1, 2}


@pytest.mark.timeout(600)
def test_no_changed_byte_of_the_calldata_verifies(public: Proven) -> None:
    chain = Chain()
    verifier = chain.deploy(verifier_bytecode(public.circuit))
    calldata = calldata_of(public)
    changes = np.random.default_rng(8).integers(1, 256, len(calldata))

    accepted = []
    for position, change in enumerate(changes):
        changed = bytearray(calldata)
        changed[position] ^= int(change)
        outcome = chain.call(verifier, bytes(changed))
        if outcome.succeeded and int.from_bytes(outcome.output) == 1:
            accepted.append(position)

    assert accepted == []
