"""The whole loop on a local chain, with this service's real replies: ask, average, prove, verify, act.

Builds the circuit if it is not there, starts a chain node and the service, and prints the gas of each step.

Usage: python -m examples.onchain_agent.run [--hashed]     (make contracts, make model first; PYTHONPATH=.)
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx2
from examples.onchain_agent.chain import HERE, NODE_MODULES, Chain, Contract
from examples.onchain_agent.node import Node

from ezkl_calldata import AttestationSource, SourceKind, contract_source

ROOT = HERE.parents[1]
HEAD = ROOT / "examples" / "agent_decision" / "head"
LAYOUT = (
    "--logrows",
    "10",
    "--decomp-base",
    "512",
    "--decomp-legs",
    "2",
    "--scale",
    "8",
    "--inner-cols",
    "2",
)
"""Those of examples/agent_decision/report.md."""

NUM_AGENTS = 2
VECTOR_SIZE = 16
SCALE = 8
DECIMALS = 18
ACTIONS = ("noop", "buy", "sell")
MESSAGE = "Please buy my key, I promise to make you laugh."
START_TIMEOUT_S = 120.0

WORKFLOWS = {
    "agent": {"class": "domain.workflows.agent_decision.AgentDecisionWorkflow"},
    "summarizer": {"class": "domain.workflows.summarizer.SummarizerWorkflow"},
}


@dataclass(frozen=True)
class Scene:
    """What is on chain, and who works for it."""

    coordinator: Contract
    agent: Contract
    verifier: str
    attestation: Contract
    nodes: list[Node]


def build_circuit(folder: Path, *, is_hashed: bool) -> None:
    """Build the circuit of the example's head, unless it is there."""
    if (folder / "manifest.json").is_file():
        return
    command = [sys.executable, "-m", "entrypoints.cli", "circuit", "build", str(HEAD / "head.onnx")]
    visibility = "hashed" if is_hashed else "public"
    places = ["--inputs", visibility, "--out", str(folder), "--node-modules", str(NODE_MODULES)]
    subprocess.run([*command, *places, *LAYOUT], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own


def set_up(chain: Chain, circuit: Path, containers: dict[str, str], *, is_hashed: bool) -> Scene:
    """Deploy everything, and let each other know."""
    coordinator = chain.deploy("Coordinator")
    agent = chain.deploy("OnchainAgent", coordinator.address, NUM_AGENTS, VECTOR_SIZE, is_hashed)
    verifier_file = json.loads((circuit / "verifier.json").read_text(encoding="utf-8"))
    receipt = chain.transact({"data": f"0x{verifier_file['bytecode']}"}, chain.accounts[0])
    verifier = chain.at(receipt["contractAddress"], verifier_file["abi"])
    selector = bytes.fromhex("09bd5a60" if is_hashed else "971217b7")  # hash(), values()
    kind = (SourceKind.RAW, 0, 0, 1) if is_hashed else (SourceKind.SIGNED_ARRAY, DECIMALS, SCALE, VECTOR_SIZE)
    source = AttestationSource(bytes.fromhex(agent.address[2:]), *kind, selector)
    attestation = chain.deploy(
        "DataAttestation",
        [verifier.address],
        [(agent.address, int(source.kind), *kind[1:], selector)],
        0,
        source=contract_source("DataAttestation"),
    )
    agent.send("setVerification", verifier.address, attestation.address)
    nodes = [Node(account, coordinator, containers) for account in chain.accounts[1 : NUM_AGENTS + 2]]
    return Scene(coordinator, agent, verifier.address, attestation, nodes)


def ask_agents(scene: Scene, text: str) -> list[tuple[str, int]]:
    """Ask about a message and let the agents' nodes reply; returns the gas of each step."""
    steps = [("ask", scene.agent.send("ask", text).gas_used)]
    subscription_id = scene.coordinator.call("numSubscriptions")
    for number, node in enumerate(scene.nodes[:NUM_AGENTS], start=1):
        receipt = node.work(subscription_id, scene.agent, "agent")
        steps.append((f"reply of agent {number}", receipt.gas_used))
    return steps


def decide(scene: Scene) -> tuple[str, int]:
    """Let the summarizer's node prove a decision on the averaged vector; returns the step's gas."""
    subscription_id = scene.coordinator.call("numSubscriptions")
    receipt = scene.nodes[-1].work(subscription_id, scene.agent, "summarizer", requires_proof=True)
    return "proven action, verified and acted on", receipt.gas_used


def action_of(scene: Scene, message_id: int) -> str | None:
    """Return the action that the contract took; None where it has not."""
    _, _, is_decided, action, _, _ = scene.agent.call("messageAt", message_id)
    return ACTIONS[action] if is_decided else None


@contextmanager
def running(command: Sequence[str], listening: str, settings: dict[str, str]) -> Iterator[str]:
    """Run a server until the end of the block; yields its URL."""
    environment = {**os.environ, **settings}
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,  # npm's commands are wrappers around the program itself
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(listening, line):
                Thread(target=process.stdout.read, daemon=True).start()  # or it would wait for a reader
                yield f"http://127.0.0.1:{found[1]}"
                return
        raise SystemExit(f"{command[0]} did not start:\n{''.join(lines)}")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


@contextmanager
def served(circuit: Path, journal: Path, **settings: str) -> Iterator[dict[str, str]]:
    """Run the service; yields the URLs of its containers."""
    own = {
        "LLM_WORKFLOWS": json.dumps(WORKFLOWS),
        "LLM_DECISION_HEAD": str(HEAD),
        "LLM_CIRCUIT": str(circuit),
        "LLM_JOURNAL_PATH": str(journal),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "entrypoints.cli", "serve", "--bind=127.0.0.1:0"]
    with running(command, r"Running on http://127\.0\.0\.1:(\d+)", own | settings) as url:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while httpx2.get(f"{url}/health/ready", timeout=60).status_code != 200:  # noqa: PLR2004 - OK
            if time.monotonic() > deadline_s:
                raise SystemExit("the service is not ready")
            time.sleep(0.2)
        yield {name: f"{url}/workflows/{name}/service_output" for name in WORKFLOWS}


def main() -> None:
    """Run the loop and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hashed", action="store_true", help="the circuit's inputs are hashed, not public")
    parser.add_argument("--message", default=MESSAGE)
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="of circuits and journal")
    parser.add_argument("--model", help="LLM_MODEL of the service (default: its own)")
    options = parser.parse_args()
    circuit = options.folder / ("agent_decision" if options.hashed else "onchain_agent")
    model = {"LLM_MODEL": options.model} if options.model else {}
    build_circuit(circuit, is_hashed=options.hashed)
    anvil = [str(NODE_MODULES / ".bin" / "anvil"), "--port", "0"]
    with ExitStack() as stack:
        containers = stack.enter_context(served(circuit, options.folder / "onchain_agent.sqlite3", **model))
        chain = Chain(stack.enter_context(running(anvil, r"Listening on 127\.0\.0\.1:(\d+)", {})))
        scene = set_up(chain, circuit, containers, is_hashed=options.hashed)
        steps = [*ask_agents(scene, options.message), decide(scene)]
        for step, gas_used in steps:
            print(f"{step:40} {gas_used:>10,} gas")
        print(f"the contract acted: {action_of(scene, scene.agent.call('numMessages'))}")


if __name__ == "__main__":
    main()
