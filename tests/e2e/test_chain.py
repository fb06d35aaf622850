"""From an HTTP request to transactions on a real chain node."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from eth_utils.abi import function_signature_to_4byte_selector

from entrypoints.cli import main
from tests.anvil import Anvil, anvil
from tests.contracts import NODE_MODULES, attestation_contract, store_contract, verifier_bytecode
from tests.heads import write_head
from tests.service_process import service

VECTOR = [0.5 * i - 3 for i in range(16)]
CONSTRUCTOR = ("address[]", "(address,uint8,uint8,uint8,uint32,bytes)[]", "uint256")


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
    verifier = node.deploy(verifier_bytecode(folder / "circuit"))
    store = node.deploy(store_contract().bytecode)
    source = (store, 0, 0, 0, 1, function_signature_to_4byte_selector("hash()"))
    attestation = node.deploy(attestation_contract().bytecode, CONSTRUCTOR, ([verifier], [source], 0))
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
