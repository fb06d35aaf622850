"""The example as `make run` serves it: the default model, the trained head, its circuit, a real chain."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime as ort
import pytest

from entrypoints.cli import main
from tests.anvil import anvil
from tests.contracts import NODE_MODULES, deployed_addresses
from tests.service_process import ServiceProcess, service

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "agent_decision"
FIRST_DEPLOYED = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
"""On a fresh anvil."""
PATH = "/workflows/agent_decision/service_output"


@pytest.fixture(scope="module")
def circuit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the parameters of the report."""
    flags = re.findall(r"`(--logrows [^`]+)`", (EXAMPLE / "report.md").read_text())[0]
    assert flags in (ROOT / "Makefile").read_text()
    folder = tmp_path_factory.mktemp("example") / "circuit"
    command = ["circuit", "build", str(EXAMPLE / "head" / "head.onnx"), "--out", str(folder)]
    assert main([*command, *flags.split(), "--node-modules", str(NODE_MODULES)]) == 0
    return folder


@pytest.fixture(scope="module")
def running(circuit: Path, smollm2_folder: Path) -> Iterator[ServiceProcess]:
    workflows = {"agent_decision": "domain.workflows.agent_decision.AgentDecisionWorkflow"}
    with service(
        LLM_MODEL=str(smollm2_folder),
        LLM_DECISION_HEAD=str(EXAMPLE / "head"),
        LLM_CIRCUIT=str(circuit),
        LLM_VERIFIER_ADDRESS=FIRST_DEPLOYED,
        LLM_WORKFLOWS=json.dumps(workflows),
    ) as started:
        yield started


def decide(running: ServiceProcess, text: str, **fields: Any) -> dict[str, Any]:
    data = {"key": "1", "messageId": "2", "text": text, "history": []}
    payload = {"source": 1, "data": data, **fields}
    response = httpx2.post(f"{running.url}{PATH}", json=payload, timeout=60)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Please buy my key, I promise to make you laugh.", "buy"),
        ("The founder left and the price is collapsing, sell everything.", "sell"),
        ("What is the capital of France?", "noop"),
    ],
)
def test_a_message_is_decided_and_the_decision_proved(
    running: ServiceProcess, circuit: Path, text: str, action: str
) -> None:
    plain = decide(running, text)
    proved = decide(running, text, requires_proof=True)

    assert plain["action"] == proved["action"] == action
    assert plain["vector"] == pytest.approx(proved["vector"], abs=1e-4)
    assert plain["rationale"]
    assert "proof" not in plain
    session = ort.InferenceSession(str(circuit / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.run(None, {"vector": np.array([proved["vector"]], np.float32)})[0] == [
        ["noop", "buy", "sell"].index(action)
    ]


def test_the_replys_calldata_goes_through_on_chain_with_and_without_attestation(
    running: ServiceProcess, circuit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = decide(running, "Please buy my key, I promise to make you laugh.", requires_proof=True)["proof"]
    with anvil() as node:
        command = ["proof", "deploy", str(circuit), "--rpc", node.url, "--node-modules", str(NODE_MODULES)]
        assert main(command) == 0
        addresses = deployed_addresses(capsys.readouterr().out)
        assert addresses["Verifier"] == FIRST_DEPLOYED
        node.send(addresses["DataStore"], "setHash(uint256)", int(proof["instances"][0], 16))

        bare = node.send_calldata(addresses["Verifier"], proof["calldata"]["verifyProof"])
        attested = node.send_calldata(
            addresses["DataAttestation"], proof["calldata"]["verifyWithDataAttestation"]
        )

    gas, gas_with_attestation = (int(receipt["gasUsed"], 16) for receipt in (bare, attested))
    assert gas <= 900_000
    assert gas_with_attestation - gas <= 15_000


@pytest.mark.parametrize(
    "text", ["?", "買ってください", "a" * 2000, "buy " * 500, "sell! " * 300, "\n\n\n", "0" * 700]
)
def test_odd_messages_fit_into_the_circuit_too(running: ServiceProcess, text: str) -> None:
    assert decide(running, text, requires_proof=True)["proof"]["instances"]


def test_an_empty_message_is_the_callers_error(running: ServiceProcess) -> None:
    data = {"key": "1", "messageId": "2", "text": "", "history": []}
    response = httpx2.post(f"{running.url}{PATH}", json={"source": 1, "data": data})

    assert response.status_code == 400
    assert response.json()["description"] == "data.text: has no tokens"


def test_the_report_holds_the_bars() -> None:
    report = (EXAMPLE / "report.md").read_text()
    majority, label_logits, head, in_circuit = map(float, re.findall(r"\| ([\d.]+)% \|", report))

    assert min(head, in_circuit) >= majority + 10
    assert min(head, in_circuit) > label_logits
    assert float(re.findall(r"agree on ([\d.]+)%", report)[0]) >= 99
