"""The example's loop on a real chain with real replies, and what the contract refuses."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from eth_abi.abi import decode, encode
from examples.onchain_agent.chain import Chain, Contract, RevertError
from examples.onchain_agent.node import Reply
from examples.onchain_agent.run import (
    HEAD,
    MESSAGE,
    VECTOR_SIZE,
    WORKFLOWS,
    Scene,
    action_of,
    ask_agents,
    build_circuit,
    decide,
    set_up,
)

from tests.anvil import anvil
from tests.service_process import ServiceProcess, service

ROOT = Path(__file__).parents[2]
ETHER = 10**18
NUM_REPLAYS = 5


@pytest.fixture(scope="module")
def circuit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onchain") / "circuit"
    build_circuit(folder, is_hashed=False)
    return folder


@pytest.fixture(scope="module")
def running(circuit: Path, smollm2_folder: Path) -> Iterator[ServiceProcess]:
    with service(
        LLM_MODEL=str(smollm2_folder),
        LLM_DECISION_HEAD=str(HEAD),
        LLM_CIRCUIT=str(circuit),
        LLM_WORKFLOWS=json.dumps(WORKFLOWS),
    ) as started:
        yield started


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with anvil() as node:
        yield Chain(node.url)


def containers(running: ServiceProcess) -> dict[str, str]:
    return {name: f"{running.url}/workflows/{name}/service_output" for name in WORKFLOWS}


@pytest.fixture
def scene(chain: Chain, circuit: Path, running: ServiceProcess) -> Scene:
    return set_up(chain, circuit, containers(running), is_hashed=False)


@pytest.fixture
def summary(scene: Scene) -> tuple[Scene, int, Reply]:
    """The agents have replied; the summarizer's reply is there and not delivered."""
    ask_agents(scene, MESSAGE)
    subscription_id = scene.coordinator.call("numSubscriptions")
    reply = scene.nodes[-1].ask(subscription_id, scene.agent, "summarizer", requires_proof=True)
    return scene, subscription_id, reply


@pytest.mark.parametrize(
    ("message", "action"),
    [
        (MESSAGE, "buy"),
        ("The founder left and the price is collapsing, sell everything.", "sell"),
        ("What is the capital of France?", "noop"),
    ],
)
def test_a_message_ends_with_a_proven_action(scene: Scene, message: str, action: str) -> None:
    steps = [*ask_agents(scene, message), decide(scene)]

    print(*(f"{step}: {gas} gas" for step, gas in steps), sep="\n")  # noqa: T201 - the figures
    assert action_of(scene, 1) == action
    assert steps[-1][1] < 1_100_000


def test_the_rationale_of_each_agent_is_on_chain(scene: Scene) -> None:
    scene.agent.send("ask", MESSAGE)
    receipt = scene.nodes[0].work(scene.coordinator.call("numSubscriptions"), scene.agent, "agent")

    assert "SubscriptionFulfilled" in receipt.events
    reply = scene.nodes[0].ask(1, scene.agent, "agent")
    rationale, vectors = decode(["string", "bytes"], bytes.fromhex(reply["raw_output"]))
    assert rationale
    assert len(decode(["int256[]"], vectors)[0]) == VECTOR_SIZE


def flipped(data: str, position: int) -> str:
    return data[:position] + ("0" if data[position] != "0" else "1") + data[position + 1 :]


def with_vector(reply: Reply, change: Callable[[list[int]], object]) -> Reply:
    vector, poseidon_hash = decode(["bytes", "uint256"], bytes.fromhex(reply["raw_input"]))
    numbers = list(decode(["int256[]"], vector)[0])
    change(numbers)
    changed = encode(["bytes", "uint256"], [encode(["int256[]"], [numbers]), poseidon_hash])
    return reply | {"raw_input": changed.hex()}


def with_action(reply: Reply) -> Reply:
    (action,) = decode(["uint8"], bytes.fromhex(reply["raw_output"]))
    return reply | {"raw_output": encode(["uint8"], [(action + 1) % 3]).hex()}


def with_proven_action(reply: Reply) -> Reply:
    """Change the action and the proof's instance alike."""
    changed = with_action(reply)
    return changed | {"proof": reply["proof"][:-64] + changed["raw_output"]}


TAMPERINGS: dict[str, tuple[Callable[[Reply], Reply], str]] = {
    "a number of the vector": (
        lambda r: with_vector(r, lambda v: v.__setitem__(3, v[3] + 1)),
        "VectorMismatch",
    ),
    "a vector cut short": (lambda r: with_vector(r, lambda v: v.pop()), "VectorMismatch"),
    "the action": (with_action, "ActionMismatch"),
    "the action and the proof's instance": (with_proven_action, "ProofRejected"),
    "a byte of the proof": (lambda r: r | {"proof": flipped(r["proof"], 2000)}, "ProofRejected"),
    "an instance of the vector": (lambda r: r | {"proof": flipped(r["proof"], -65)}, "InstanceMismatch"),
    "the selector": (lambda r: r | {"proof": flipped(r["proof"], 0)}, "CallNotVerifyProof"),
    "an offset": (lambda r: r | {"proof": flipped(r["proof"], 8 + 62)}, ""),
    "no proof": (lambda r: r | {"proof": ""}, ""),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_summary_that_was_tampered_with_is_refused(summary: tuple[Scene, int, Reply], name: str) -> None:
    scene, subscription_id, reply = summary
    tampered, error = TAMPERINGS[name]
    with pytest.raises(RevertError) as caught:
        scene.nodes[-1].deliver(subscription_id, tampered(reply))

    assert not error or caught.value.name == error
    assert action_of(scene, 1) is None
    scene.nodes[-1].deliver(subscription_id, reply)
    assert action_of(scene, 1) == "buy", "the true reply is taken after all"


def test_a_proof_of_another_vector_is_refused(scene: Scene) -> None:
    ask_agents(scene, MESSAGE)
    first = scene.coordinator.call("numSubscriptions")
    ask_agents(scene, "The founder left and the price is collapsing, sell everything.")
    second = scene.coordinator.call("numSubscriptions")
    mine, others = (
        scene.nodes[-1].ask(number, scene.agent, "summarizer", requires_proof=True)
        for number in (first, second)
    )
    with pytest.raises(RevertError) as caught:
        scene.nodes[-1].deliver(first, mine | {"proof": others["proof"], "raw_output": others["raw_output"]})
    assert caught.value.name == "InstanceMismatch"


def test_what_was_delivered_is_not_taken_again(summary: tuple[Scene, int, Reply]) -> None:
    scene, subscription_id, reply = summary
    scene.nodes[-1].deliver(subscription_id, reply)
    for node in scene.nodes:
        with pytest.raises(RevertError) as caught:
            node.deliver(subscription_id, reply)
        assert caught.value.name == "IntervalCompleted"
    with pytest.raises(RevertError) as caught:
        scene.agent.send(
            "rawReceiveCompute", subscription_id, 1, 1, scene.nodes[0].account, b"", b"", b"", bytes(32), 0
        )
    assert caught.value.name == "NotCoordinator"
    with pytest.raises(RevertError) as caught:
        scene.agent.send("decide", 1, b"", b"", b"")
    assert caught.value.name == "NotSelf"


def agent_reply_with(reply: Reply, **changes: Any) -> Reply:
    hashed, message_id, key = decode(["bytes32", "uint48", "address"], bytes.fromhex(reply["raw_input"]))
    rationale, vectors = decode(["string", "bytes"], bytes.fromhex(reply["raw_output"]))
    raw_input = [changes.get("hashed", hashed), changes.get("message_id", message_id), key]
    raw_output = [rationale, changes.get("vectors", vectors)]
    return reply | {
        "raw_input": encode(["bytes32", "uint48", "address"], raw_input).hex(),
        "raw_output": encode(["string", "bytes"], raw_output).hex(),
    }


def test_an_agents_reply_that_was_tampered_with_or_replayed_is_refused(scene: Scene) -> None:
    scene.agent.send("ask", MESSAGE)
    first = scene.coordinator.call("numSubscriptions")
    scene.agent.send("ask", MESSAGE)
    node = scene.nodes[0]
    reply = node.ask(first, scene.agent, "agent")
    other_vectors = encode(["int256[]"], [[1] * VECTOR_SIZE])
    tampered = [
        (first, agent_reply_with(reply, vectors=other_vectors), "VectorMismatch"),
        (first, agent_reply_with(reply, hashed=bytes(32)), "VectorMismatch"),
        (first, agent_reply_with(reply, message_id=2), "MessageMismatch"),
        (first + 1, reply, "MessageMismatch"),
    ]
    for subscription_id, changed, error in tampered:
        with pytest.raises(RevertError) as caught:
            node.deliver(subscription_id, changed)
        assert caught.value.name == error
    node.deliver(first, reply)
    with pytest.raises(RevertError) as caught:
        node.deliver(first, reply)
    assert caught.value.name == "NodeRespondedAlready"


@pytest.fixture
def paying(chain: Chain, scene: Scene) -> tuple[Scene, Contract]:
    """Summaries are paid, on proofs; everyone has money."""
    wallet = chain.accounts[9]
    payments = chain.deploy(
        "PaymentVerifier", scene.coordinator.address, scene.agent.address, wallet, ETHER // 100
    )
    scene.agent.send("setPayment", payments.address, ETHER // 10)
    for account in (scene.agent.address, scene.nodes[-1].account, scene.nodes[0].account):
        scene.coordinator.send("deposit", account, value=ETHER)
    return scene, payments


def balance(scene: Scene, account: str) -> float:
    return float(scene.coordinator.call("balanceOf", account)) / ETHER


def test_a_good_proof_is_paid(paying: tuple[Scene, Contract], chain: Chain) -> None:
    scene, _ = paying
    ask_agents(scene, MESSAGE)
    decide(scene)

    assert action_of(scene, 1) == "buy"
    assert balance(scene, scene.nodes[-1].account) == pytest.approx(1.09)
    assert balance(scene, scene.agent.address) == pytest.approx(0.9)
    assert balance(scene, chain.accounts[9]) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "spoilt",
    [lambda proof: flipped(proof, 2000), lambda _: "", lambda proof: proof[:8], lambda _: "00" * 100],
    ids=["a byte", "none", "selector alone", "zeros"],
)
def test_a_bad_proof_costs_the_node_and_another_may_do_better(
    paying: tuple[Scene, Contract], spoilt: Callable[[str], str]
) -> None:
    scene, _ = paying
    ask_agents(scene, MESSAGE)
    subscription_id = scene.coordinator.call("numSubscriptions")
    cheat, honest = scene.nodes[0], scene.nodes[-1]
    reply = cheat.ask(subscription_id, scene.agent, "summarizer", requires_proof=True)
    cheat.deliver(subscription_id, reply | {"proof": spoilt(reply["proof"])})

    assert action_of(scene, 1) is None
    assert balance(scene, cheat.account) == pytest.approx(0.9)
    assert balance(scene, scene.agent.address) == pytest.approx(1.09)
    decide(scene)
    assert action_of(scene, 1) == "buy"
    assert balance(scene, honest.account) == pytest.approx(1.09)


def test_a_good_proof_of_another_vector_costs_its_node_however_often_it_is_replayed(
    paying: tuple[Scene, Contract],
) -> None:
    scene, _ = paying
    cheat, honest = scene.nodes[0], scene.nodes[-1]
    ask_agents(scene, "The founder left and the price is collapsing, sell everything.")
    first = scene.coordinator.call("numSubscriptions")
    replayed = honest.ask(first, scene.agent, "summarizer", requires_proof=True)
    honest.deliver(first, replayed)
    ask_agents(scene, MESSAGE)
    for _ in range(NUM_REPLAYS):
        cheat.deliver(scene.coordinator.call("numSubscriptions"), replayed)

    assert action_of(scene, 2) is None
    assert balance(scene, cheat.account) == pytest.approx(1 - NUM_REPLAYS * 0.1)
    assert balance(scene, scene.agent.address) == pytest.approx(0.9 + NUM_REPLAYS * 0.09)
    decide(scene)
    assert action_of(scene, 2) == "buy"
    assert balance(scene, honest.account) == pytest.approx(1.18)


@pytest.mark.parametrize("name", ["a number of the vector", "the action"])
def test_a_good_proof_with_another_reply_is_neither_taken_nor_paid(
    paying: tuple[Scene, Contract], name: str
) -> None:
    scene, _ = paying
    ask_agents(scene, MESSAGE)
    subscription_id = scene.coordinator.call("numSubscriptions")
    cheat, honest = scene.nodes[0], scene.nodes[-1]
    reply = honest.ask(subscription_id, scene.agent, "summarizer", requires_proof=True)
    tampered, error = TAMPERINGS[name]
    with pytest.raises(RevertError) as caught:
        cheat.deliver(subscription_id, tampered(reply))

    assert caught.value.name == error
    assert balance(scene, cheat.account) == balance(scene, scene.agent.address) == 1
    honest.deliver(subscription_id, reply)
    assert action_of(scene, 1) == "buy"
    assert balance(scene, honest.account) == pytest.approx(1.09)


def test_who_pays_for_summaries_asks(paying: tuple[Scene, Contract]) -> None:
    scene, _ = paying
    with pytest.raises(RevertError) as caught:
        scene.agent.send("ask", MESSAGE, sender=scene.nodes[0].account)

    assert caught.value.name == "NotOwner"


def test_a_payment_verifier_keeps_to_the_sdks_interface(paying: tuple[Scene, Contract], chain: Chain) -> None:
    scene, payments = paying

    assert payments.call("getWallet") == chain.accounts[9].lower()
    assert payments.call("isSupportedToken", "0x" + "00" * 20)
    assert not payments.call("isSupportedToken", "0x" + "11" * 20)
    assert payments.call("fee", "0x" + "00" * 20) == ETHER // 100
    with pytest.raises(RevertError) as caught:
        payments.send("requestProofVerification", 1, 1, chain.accounts[0], b"")
    assert caught.value.name == "NotCoordinator"
    with pytest.raises(RevertError) as caught:
        scene.agent.send("isProofOf", 1, b"")
    assert caught.value.name == "NotPaymentVerifier"


def test_the_script_runs_with_a_circuit_of_hashed_inputs(smollm2_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.onchain_agent.run", "--hashed", "--folder", str(tmp_path)]
    printed = subprocess.run(
        [*command, "--model", str(smollm2_folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "the contract acted: buy" in printed.stdout
    assert printed.stdout.count(" gas") == 4


def test_a_retry_of_the_node_gets_the_same_proof(running: ServiceProcess, scene: Scene) -> None:
    ask_agents(scene, MESSAGE)
    subscription_id = scene.coordinator.call("numSubscriptions")
    node = scene.nodes[-1]
    replies = [node.ask(subscription_id, scene.agent, "summarizer", requires_proof=True) for _ in range(2)]

    assert replies[0] == replies[1]
    jobs = httpx2.get(f"{running.url}/jobs").json()["jobs"]
    assert all(job["status"] == "succeeded" for job in jobs)
