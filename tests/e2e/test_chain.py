"""From an HTTP request to transactions on a real chain node."""

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from eth_account import Account
from eth_utils.abi import function_signature_to_4byte_selector

from adapters.ethereum import call_contract
from entrypoints.cli import main
from entrypoints.deployment import HASH, VALUES
from ezkl_calldata import AttestationCall, VerifyCall, decode_verify_call, encode_attestation_call
from tests.anvil import Anvil, anvil
from tests.contracts import NODE_MODULES, deployed_addresses
from tests.heads import write_head
from tests.proving import prove
from tests.service_process import service

VECTOR = [0.5 * i - 3 for i in range(16)]


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with anvil() as running:
        yield running


@pytest.fixture(scope="module")
def scene(node: Anvil, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A circuit, its contracts on chain, the service's reply, and the reply's hash stored on chain."""
    folder = tmp_path_factory.mktemp("chain")
    write_head(folder / "head.onnx", (16, 16, 3))
    command = ["circuit", "build", str(folder / "head.onnx"), "--out", str(folder / "circuit")]
    assert main([*command, "--node-modules", str(NODE_MODULES)]) == 0
    with redirect_stdout(StringIO()) as printed:
        deploy = ["proof", "deploy", str(folder / "circuit"), "--rpc", node.url]
        assert main([*deploy, "--node-modules", str(NODE_MODULES)]) == 0
    addresses = deployed_addresses(printed.getvalue())
    verifier, store, attestation = (addresses[name] for name in ("Verifier", "DataStore", "DataAttestation"))
    with service(
        LLM_BACKEND="scripted",
        LLM_CIRCUIT=str(folder / "circuit"),
        LLM_VERIFIER_ADDRESS=verifier,
        FLASK_LLM_WORKFLOW_CLASS="domain.workflows.vector_decision.VectorDecisionWorkflow",
    ) as running:
        payload = {"source": 1, "requires_proof": True, "data": {"inputs": VECTOR}}
        reply = httpx2.post(f"{running.url}/service_output", json=payload, timeout=60).json()
    (folder / "reply.json").write_text(json.dumps(reply))
    node.send(store, "setHash(uint256)", int(reply["proof"]["instances"][0], 16))
    return {
        "folder": folder,
        "reply": reply,
        "verifier": verifier,
        "store": store,
        "attestation": attestation,
    }


def verify(scene: dict[str, Any], *ways: str) -> int:
    return main(["proof", "verify", str(scene["folder"] / "reply.json"), *ways])


def test_the_replys_calldata_goes_through_unchanged_in_transactions(
    node: Anvil, scene: dict[str, Any]
) -> None:
    calldata = scene["reply"]["proof"]["calldata"]

    bare = node.send_calldata(scene["verifier"], calldata["verifyProof"])
    attested = node.send_calldata(scene["attestation"], calldata["verifyWithDataAttestation"])

    bare_gas, attested_gas = (int(receipt["gasUsed"], 16) for receipt in (bare, attested))
    print(f"verifyProof {bare_gas} gas, with attestation of one hash {attested_gas}")  # noqa: T201 - the figures
    assert bare_gas <= 900_000
    assert attested_gas - bare_gas <= 15_000


def test_the_command_checks_natively_and_on_chain(
    node: Anvil, scene: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    circuit = str(scene["folder"] / "circuit")
    on_chain = ["--rpc", node.url, "--verifier", scene["verifier"], "--attestation", scene["attestation"]]

    assert verify(scene, "--circuit", circuit, *on_chain) == 0
    assert capsys.readouterr().out.count("ok ") == 3


def test_other_data_on_chain_is_refused_and_the_error_named(
    node: Anvil, scene: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    proven = int(scene["reply"]["proof"]["instances"][0], 16)
    node.send(scene["store"], "setHash(uint256)", 7)
    try:
        assert verify(scene, "--rpc", node.url, "--attestation", scene["attestation"]) == 1
    finally:
        node.send(scene["store"], "setHash(uint256)", proven)

    selector = function_signature_to_4byte_selector("InstanceMismatch(uint256,uint256,uint256)").hex()
    assert f"reverted with 0x{selector}" in capsys.readouterr().out


def test_a_tampered_reply_is_refused_natively_and_on_chain(
    node: Anvil, scene: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = json.loads(json.dumps(scene["reply"]))
    calldata = reply["proof"]["calldata"]["verifyProof"]
    reply["proof"]["calldata"]["verifyProof"] = (
        calldata[:2000] + ("0" if calldata[2000] != "0" else "1") + calldata[2001:]
    )
    (tmp_path / "reply.json").write_text(json.dumps(reply))
    command = ["proof", "verify", str(tmp_path / "reply.json"), "--circuit", str(scene["folder"] / "circuit")]

    assert main([*command, "--rpc", node.url, "--verifier", scene["verifier"]]) == 1
    assert capsys.readouterr().out.count("REFUSED") == 2


@pytest.mark.parametrize(
    "content", ["", "{}", '{"proof": {"calldata": {}}}', '{"proof": {"calldata": {"verifyProof": "0x12"}}}']
)
def test_a_file_without_a_proof_is_one_message(tmp_path: Path, scene: dict[str, Any], content: str) -> None:
    (tmp_path / "reply.json").write_text(content)

    assert (
        main(["proof", "verify", str(tmp_path / "reply.json"), "--circuit", str(scene["folder"] / "circuit")])
        == 78
    )


@pytest.mark.parametrize(
    "ways", [[], ["--rpc", "http://127.0.0.1:9"], ["--rpc", "http://127.0.0.1:9", "--verifier", "0x00"]]
)
def test_a_way_that_cannot_be_gone_is_one_message(scene: dict[str, Any], ways: list[str]) -> None:
    assert verify(scene, *ways) == 78


def deploy(scene: dict[str, Any], *options: str) -> int:
    command = ["proof", "deploy", str(scene["folder"] / "circuit"), "--node-modules", str(NODE_MODULES)]
    return main([*command, *options])


def test_a_private_key_signs_a_deployment_with_a_source_of_ones_own(
    node: Anvil, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "0x" + "11" * 32
    account = Account.from_key(key).address
    node.ask("anvil_setBalance", account, hex(10**18))
    monkeypatch.setenv("LLM_DEPLOYER_PRIVATE_KEY", key)

    assert deploy(scene, "--rpc", node.url, "--source", f"{scene['store']}:hash()") == 0

    printed = capsys.readouterr()
    addresses = deployed_addresses(printed.out)
    attestation, verifier = addresses["DataAttestation"], addresses["Verifier"]
    assert int(node.ask("eth_getTransactionCount", account, "latest"), 16) == 2
    assert "11" * 32 not in printed.out + printed.err
    call = decode_verify_call(bytes.fromhex(scene["reply"]["proof"]["calldata"]["verifyProof"][2:]))
    calldata = encode_attestation_call(AttestationCall(bytes.fromhex(verifier[2:]), call))
    node.send_calldata(attestation, f"0x{calldata.hex()}")


@pytest.mark.parametrize(
    "options",
    [
        ["--rpc", "http://127.0.0.1:9"],
        ["--rpc", "nowhere"],
        ["--rpc", "http://127.0.0.1:9", "--source", "0x12:hash()"],
        ["--rpc", "http://127.0.0.1:9", "--decimals", "99"],
    ],
)
def test_a_deployment_that_cannot_be_made_is_one_message(scene: dict[str, Any], options: list[str]) -> None:
    assert deploy(scene, *options) == 78


def test_a_key_that_is_none_is_one_message(
    node: Anvil, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_DEPLOYER_PRIVATE_KEY", "secretword")

    assert deploy(scene, "--rpc", node.url) == 78
    assert "secretword" not in capsys.readouterr().err


def test_public_inputs_are_compared_with_a_vector_on_chain(
    node: Anvil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_head(tmp_path / "head.onnx", (16, 3), has_argmax=False)
    circuit = str(tmp_path / "circuit")
    node_modules = ["--node-modules", str(NODE_MODULES)]
    layout = ["--inputs", "public", "--logrows", "10", "--decomp-legs", "3"]
    assert (
        main(["circuit", "build", str(tmp_path / "head.onnx"), "--out", circuit, *layout, *node_modules]) == 0
    )
    assert main(["proof", "deploy", circuit, "--rpc", node.url, *node_modules]) == 0
    addresses = deployed_addresses(capsys.readouterr().out)
    call = VerifyCall((proof := prove(Path(circuit), VECTOR)).data, proof.instances)
    calldata = encode_attestation_call(AttestationCall(bytes.fromhex(addresses["Verifier"][2:]), call))

    on_chain = [int(value * 10**18) for value in VECTOR]
    node.send(addresses["DataStore"], "setValues(int256[])", on_chain)
    node.send_calldata(addresses["DataAttestation"], f"0x{calldata.hex()}")

    node.send(addresses["DataStore"], "setValues(int256[])", [on_chain[0] + 10**18, *on_chain[1:]])
    assert call_contract(node.url, addresses["DataAttestation"], calldata).has_reverted


def test_the_stores_selectors_are_those_of_its_functions() -> None:
    assert function_signature_to_4byte_selector("hash()") == HASH
    assert function_signature_to_4byte_selector("values()") == VALUES
