"""From an HTTP request to a proof that an EVM takes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from entrypoints.cli import main
from ezkl_calldata import VerifyCall, decode_attestation_call, decode_verify_call, encode_verify_call
from tests.contracts import NODE_MODULES, verifier_bytecode
from tests.evm import Chain
from tests.heads import write_head
from tests.service_process import ServiceProcess, service, started

VECTOR = [0.25 * i - 2 for i in range(16)]
VERIFIER = "0x" + "12" * 20


@pytest.fixture(scope="module")
def circuit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the command, as a user does."""
    folder = tmp_path_factory.mktemp("circuit")
    write_head(folder / "head.onnx", (16, 16, 3))
    arguments = ["circuit", "build", str(folder / "head.onnx"), "--out", str(folder / "circuit")]
    assert main([*arguments, "--node-modules", str(NODE_MODULES)]) == 0
    return folder / "circuit"


@pytest.fixture(scope="module")
def running(circuit: Path) -> Iterator[ServiceProcess]:
    workflows = {
        "decision": {
            "class": "domain.workflows.vector_decision.VectorDecisionWorkflow",
            "kwargs": {"labels": ["noop", "buy", "sell"]},
        }
    }
    with service(
        LLM_BACKEND="scripted",
        LLM_CIRCUIT=str(circuit),
        LLM_VERIFIER_ADDRESS=VERIFIER,
        LLM_WORKFLOWS=json.dumps(workflows),
    ) as started:
        yield started


def post(running: ServiceProcess, data: dict[str, Any], **fields: Any) -> httpx2.Response:
    payload = {"source": 1, "data": data, **fields}
    return httpx2.post(f"{running.url}/workflows/decision/service_output", json=payload, timeout=60)


def test_a_decision_comes_with_calldata_that_the_verifier_takes_unchanged(
    running: ServiceProcess, circuit: Path
) -> None:
    response = post(running, {"inputs": VECTOR}, requires_proof=True)

    assert response.status_code == 200
    reply = response.json()
    proof = reply["proof"]
    assert reply["action"] == ["noop", "buy", "sell"][reply["outputs"][0]]
    assert "not proved" in proof["statement"]
    calldata = bytes.fromhex(proof["calldata"]["verifyProof"].removeprefix("0x"))
    chain = Chain()
    outcome = chain.call(chain.deploy(verifier_bytecode(circuit)), calldata)
    assert outcome.succeeded
    assert int.from_bytes(outcome.output) == 1
    call = decode_verify_call(calldata)
    assert [f"0x{felt:064x}" for felt in call.instances] == proof["instances"]
    assert proof["values"]["input_hash"] == proof["instances"][:1]
    assert call.instances[1] == reply["outputs"][0]
    attested = bytes.fromhex(proof["calldata"]["verifyWithDataAttestation"].removeprefix("0x"))
    assert decode_attestation_call(attested).verify_call == call
    assert decode_attestation_call(attested).verifier == bytes.fromhex(VERIFIER[2:])


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        (VECTOR[:-1], "data.inputs"),
        ([1e30, *VECTOR[1:]], "data.inputs.0"),
        (["x"] * 16, "data.inputs.0"),
        ([], "data.inputs"),
    ],
)
def test_an_input_that_the_circuit_does_not_take_is_a_400_that_names_it(
    running: ServiceProcess, inputs: list[Any], path: str
) -> None:
    response = post(running, {"inputs": inputs})

    assert response.status_code == 400
    assert response.json()["description"].startswith(f"{path}")


malformed_numbers = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["1", "NaN", "0x1"]),
    st.floats(1e9, allow_infinity=False),
    st.floats(max_value=-1e9, allow_infinity=False),
    st.integers(10**9),
    st.lists(st.integers(), max_size=2),
)
vectors = st.lists(st.floats(-100, 100), min_size=16, max_size=16)
malformed_vectors = st.one_of(
    st.tuples(vectors, st.integers(0, 15), malformed_numbers).map(
        lambda drawn: [*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]]
    ),
    st.lists(st.floats(-100, 100), max_size=40).filter(lambda vector: len(vector) != 16),
    st.none() | st.booleans() | st.text() | st.integers() | st.dictionaries(st.text(), st.integers()),
)


@pytest.mark.timeout(300)
def test_two_thousand_malformed_inputs_are_each_a_400_and_cost_nothing(running: ServiceProcess) -> None:
    num_refused = 0
    with httpx2.Client(timeout=10) as client:

        @settings(max_examples=2000, database=None, suppress_health_check=list(HealthCheck))
        @given(inputs=malformed_vectors)
        def refused(inputs: Any) -> None:
            nonlocal num_refused
            payload = {"source": 1, "requires_proof": True, "data": {"inputs": inputs}}
            response = client.post(f"{running.url}/workflows/decision/service_output", json=payload)
            assert response.status_code == 400, inputs
            assert "data.inputs" in response.json()["description"]
            num_refused += 1

        refused()

    assert num_refused >= 2000
    assert post(running, {"inputs": VECTOR}, requires_proof=True).status_code == 200


def verify(running: ServiceProcess, calldata: str) -> httpx2.Response:
    return httpx2.post(f"{running.url}/proofs/verify", json={"calldata": calldata}, timeout=60)


@pytest.fixture(scope="module")
def proof(running: ServiceProcess) -> dict[str, Any]:
    reply: dict[str, Any] = post(running, {"inputs": VECTOR}, requires_proof=True).json()["proof"]
    return reply


@pytest.mark.parametrize("function", ["verifyProof", "verifyWithDataAttestation"])
def test_a_proof_that_was_made_here_is_verified(
    running: ServiceProcess, proof: dict[str, Any], function: str
) -> None:
    verdict = verify(running, proof["calldata"][function]).json()

    assert verdict == {
        "verified": True,
        "circuit_id": proof["circuit_id"],
        "statement": proof["statement"],
        "is_srs_insecure": True,
        "instances": proof["instances"],
        "values": proof["values"],
    }


def test_a_proof_with_another_output_or_other_bytes_is_not_verified(
    running: ServiceProcess, proof: dict[str, Any]
) -> None:
    call = decode_verify_call(bytes.fromhex(proof["calldata"]["verifyProof"][2:]))
    other_output = VerifyCall(call.proof, (call.instances[0], (call.instances[1] + 1) % 3))
    other_bytes = VerifyCall(bytes([call.proof[0] ^ 1]) + call.proof[1:], call.instances)
    more_instances = VerifyCall(call.proof, (*call.instances, 1))
    no_proof = VerifyCall(b"", call.instances)

    for forged in (other_output, other_bytes, more_instances, no_proof):
        response = verify(running, encode_verify_call(forged).hex())
        assert response.status_code == 200
        assert response.json()["verified"] is False
    assert verify(running, encode_verify_call(more_instances).hex()).json()["values"] is None


def test_the_verdict_is_what_the_document_says(running: ServiceProcess, proof: dict[str, Any]) -> None:
    document = httpx2.get(f"{running.url}/openapi.json", timeout=10).json()
    answers = document["paths"]["/proofs/verify"]["post"]["responses"]
    verdict = verify(running, proof["calldata"]["verifyProof"])

    schema = answers["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(verdict.json())


@pytest.mark.parametrize("calldata", ["", "0x", "0x1e8e1e13", "0x1e8e1e130", "0x" + "00" * 100, "hello"])
def test_what_is_no_calldata_is_a_400_that_names_it(running: ServiceProcess, calldata: str) -> None:
    response = verify(running, calldata)

    assert response.status_code == 400
    assert "calldata" in response.json()["description"]


def test_a_circuit_for_tests_is_called_so_at_the_start(
    running: ServiceProcess,
    circuit: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert any("can be forged" in line for line in running.lines)

    monkeypatch.setenv("LLM_CIRCUIT", str(circuit))
    monkeypatch.setenv("LLM_BACKEND", "scripted")
    assert main(["doctor"]) == 0
    assert "INSECURE reference string" in capsys.readouterr().out


def test_the_chat_workflow_beside_it_attaches_no_proof(running: ServiceProcess) -> None:
    data = {"key": "1", "messageId": "2", "text": "hello", "history": []}
    payload = {"source": 1, "data": data, "requires_proof": True}

    response = httpx2.post(f"{running.url}/service_output", json=payload)

    assert response.status_code == 400
    assert "requires_proof" in response.json()["description"]


def test_no_vector_is_in_the_log(running: ServiceProcess) -> None:
    post(running, {"inputs": [0.123456789, *VECTOR[1:]]})

    assert "0.123456789" not in running.log


def test_a_workflow_that_proves_needs_a_circuit() -> None:
    class_path = "domain.workflows.vector_decision.VectorDecisionWorkflow"
    with started(
        "--bind=127.0.0.1:0", LLM_BACKEND="scripted", FLASK_LLM_WORKFLOW_CLASS=class_path
    ) as process:
        assert process.process.wait(30) == 78
        process._reader.join(5)

    assert "needs proofs" in process.log
    assert "LLM_CIRCUIT" in process.log


def test_a_damaged_circuit_stops_the_start(circuit: Path, tmp_path: Path) -> None:
    for file in circuit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "vk.key").write_bytes(b"x")
    with started("--bind=127.0.0.1:0", LLM_BACKEND="scripted", LLM_CIRCUIT=str(tmp_path)) as process:
        assert process.process.wait(30) == 78
        process._reader.join(5)

    assert "vk.key missing or changed" in process.log


def test_the_circuit_commands_tell_of_a_circuit(
    circuit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["circuit", "inspect", str(circuit)]) == 0
    assert main(["circuit", "verify-artifacts", str(circuit)]) == 0

    shown = capsys.readouterr().out
    assert "INSECURE" in shown
    assert "bytes of code: fits" in shown
    assert "10 files match" in shown
    assert main(["circuit", "verify-artifacts", str(tmp_path)]) == 78
