"""Real replies under the rules of every released node."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from eth_abi.abi import decode, encode

from tests.heads import write_head
from tests.infernet_node import VERSIONS, JobFailedError, NodeDouble
from tests.proving import built_circuit
from tests.service_process import ServiceProcess, service

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-the-node"
TEXT = "Grüße aus 東京"
DATA = {"key": "0x" + "aa" * 20, "messageId": "7", "text": TEXT, "history": []}
VECTOR = [(number - 8) * 10**17 for number in range(16)]
FAILING = "tests.e2e.failing_workflows"
WORKFLOWS = {
    "wrapped": {
        "class": "domain.workflows.chat.ChatWorkflow",
        "chain": {"codec": "text", "layout": "wrapped"},
    },
    "messages": {"class": "domain.workflows.chat.ChatWorkflow", "chain": {"codec": "messages"}},
    "object": {
        "class": f"{FAILING}.WordCount",
        "chain": {"codec": "abi", "input": "(string)", "output": "(string text, uint256 words)"},
    },
    "halving": {
        "class": f"{FAILING}.Halving",
        "chain": {"codec": "abi", "input": "(int256[] vector)", "output": "(int256[] vector)"},
    },
    "raising": f"{FAILING}.Raising",
    "breaking": f"{FAILING}.BreakingOff",
    "summarizer": "domain.workflows.summarizer.SummarizerWorkflow",
    "vector": "domain.workflows.vector_decision.VectorDecisionWorkflow",
}
ONCHAIN = encode(["string"], [TEXT])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("node")
    write_head(folder / "head.onnx", (16, 3))
    with service(
        LLM_BACKEND="scripted",
        LLM_CIRCUIT=str(built_circuit(folder / "head.onnx", folder / "circuit")),
        LLM_WORKFLOWS=json.dumps(WORKFLOWS),
        LLM_AUTH_TOKENS=f"{TOKEN},another-token",
        LLM_MAX_BODY_BYTES="20000",
        PYTHONPATH=os.pathsep.join(str(ROOT / folder) for folder in (".", "src", "ezkl")),
    ) as started:
        yield started


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def node_of(running: ServiceProcess, version: str, workflow: str = "default") -> NodeDouble:
    return NodeDouble(version, f"{running.url}/workflows/{workflow}/service_output", TOKEN)


def unwrapped(output: bytes) -> tuple[bytes, bytes]:
    raw, processed = decode(["bytes", "bytes"], output)
    return raw, processed


def test_offchain_jobs(running: ServiceProcess, version: str) -> None:
    assert node_of(running, version).offchain_job(DATA) == TEXT
    assert node_of(running, version, "object").offchain_job(DATA) == {"text": TEXT, "words": 3}


def test_an_onchain_subscription_reads_as_the_starters_consumers_do(
    running: ServiceProcess, version: str
) -> None:
    delivery = node_of(running, version).onchain_subscription(ONCHAIN)

    raw_input, processed_input = unwrapped(delivery.input)
    raw_output, processed_output = unwrapped(delivery.output)
    assert not delivery.is_repr
    assert (raw_input, processed_input, processed_output, delivery.proof) == (ONCHAIN, b"", b"", b"")
    assert decode(["string"], raw_output) == (TEXT,)


def test_the_wrapped_layout_reads_without_unwrapping(running: ServiceProcess, version: str) -> None:
    delivery = node_of(running, version, "wrapped").onchain_subscription(ONCHAIN)

    assert decode(["string"], delivery.output) == (TEXT,)


def test_messages_and_objects_go_on_chain(running: ServiceProcess, version: str) -> None:
    types = ["uint8", "uint8", "string", "(string,string)[]"]
    messages = encode(types, [0, 0, "m", [("system", "Be kind."), ("user", TEXT)]])
    answered = node_of(running, version, "messages").onchain_subscription(messages)
    counted = node_of(running, version, "object").onchain_subscription(ONCHAIN)

    assert decode(["string"], unwrapped(answered.output)[0]) == (TEXT,)
    assert decode(["string", "uint256"], unwrapped(counted.output)[0]) == (TEXT, 3)


def test_a_delegated_subscription(running: ServiceProcess, version: str) -> None:
    node = node_of(running, version)
    if node.is_early:
        pytest.skip("a node before 1.0 gives no sign that the reply goes on chain")
    delivery = node.delegated_subscription(DATA)

    assert unwrapped(delivery.input)[0] == ONCHAIN
    assert decode(["string"], unwrapped(delivery.output)[0]) == (TEXT,)


def test_a_proven_summary(running: ServiceProcess, version: str) -> None:
    delivery = node_of(running, version, "summarizer").onchain_subscription(
        encode(["int256[]"], [VECTOR]), requires_proof=True
    )

    vector, poseidon_hash = decode(["bytes", "uint256"], unwrapped(delivery.input)[0])
    (action,) = decode(["uint8"], unwrapped(delivery.output)[0])
    _, instances = decode(["bytes", "uint256[]"], delivery.proof[4:])
    assert vector == encode(["int256[]"], [VECTOR])
    assert instances == (poseidon_hash, action)


def test_chained_containers(running: ServiceProcess, version: str) -> None:
    first, second = node_of(running, version), node_of(running, version, "object")

    assert first.chained(DATA, first, second) == {"text": TEXT, "words": 3}


def test_a_chained_subscription_that_wants_a_proof_gets_it_of_the_last(running: ServiceProcess) -> None:
    first, last = node_of(running, "1.4.0", "halving"), node_of(running, "1.4.0", "summarizer")

    delivery = first.chained_subscription(
        encode(["int256[]"], [[2 * number for number in VECTOR]]), last, requires_proof=True
    )
    vector, _ = decode(["bytes", "uint256"], unwrapped(delivery.input)[0])
    assert vector == encode(["int256[]"], [VECTOR])
    assert delivery.proof


def test_an_error_in_a_chain_is_no_input_of_the_next(running: ServiceProcess) -> None:
    raising, second = node_of(running, "1.4.0", "raising"), node_of(running, "1.4.0", "object")

    with pytest.raises(JobFailedError, match="container error 400"):
        raising.chained_subscription(ONCHAIN, second)
    assert "before this one" in raising.chained(DATA, second)["description"]


@pytest.mark.parametrize("workflow", ["default", "object"])
def test_streams(running: ServiceProcess, version: str, workflow: str) -> None:
    node = node_of(running, version, workflow)
    if node.is_early:
        pytest.skip("a node before 1.0 has no streams")

    streamed = node.stream(DATA)
    assert streamed == (
        TEXT if workflow == "default" else json.dumps({"text": TEXT, "words": 3}, ensure_ascii=False)
    )


def test_a_stream_that_cannot_start_fails_and_one_that_breaks_says_so(running: ServiceProcess) -> None:
    with pytest.raises(JobFailedError, match="status 500"):
        node_of(running, "1.4.0", "raising").stream(DATA)
    text, marker, error = node_of(running, "1.4.0", "breaking").stream(DATA).partition("[stream broken off] ")
    assert text.startswith("one two")
    assert marker
    assert json.loads(error)["code"] == "500"


BAD_REQUESTS: list[tuple[str, bytes]] = [
    ("default", b""),
    ("default", b"\x01"),
    ("default", bytes(19_000 // 2)),
    ("default", bytes(40_000)),
    ("messages", ONCHAIN),
    ("raising", ONCHAIN),
    ("summarizer", encode(["int256[]"], [[1]])),
    ("summarizer", encode(["int256[]"], [[2**255 - 1] * 16])),
    ("vector", ONCHAIN),
    ("nowhere", ONCHAIN),
]


@pytest.mark.parametrize(("workflow", "data"), BAD_REQUESTS)
def test_no_error_is_put_on_chain_as_an_answer(
    running: ServiceProcess, version: str, workflow: str, data: bytes
) -> None:
    node = node_of(running, version, workflow)
    if node.is_early:
        delivery = node.onchain_subscription(data)
        assert delivery.is_repr, "these nodes put anything on chain; no container can keep them from it"
        return
    with pytest.raises(JobFailedError, match="container error"):
        node.onchain_subscription(data)


@pytest.mark.parametrize("path", ["/nothing", "/health", "/jobs"])
def test_the_frameworks_own_errors_are_errors_to_a_node(running: ServiceProcess, path: str) -> None:
    with pytest.raises(JobFailedError, match=r"container error 40[45]"):
        NodeDouble("1.4.0", f"{running.url}{path}", TOKEN).onchain_subscription(ONCHAIN)


def test_a_node_without_a_token_or_with_another_is_told_so(running: ServiceProcess) -> None:
    url = f"{running.url}/service_output"
    for bearer in (None, "wrong-token"):
        with pytest.raises(JobFailedError, match="container error 401"):
            NodeDouble("1.4.0", url, bearer).onchain_subscription(ONCHAIN)
    assert NodeDouble("1.4.0", url, "another-token").offchain_job(DATA) == TEXT


def test_overload_is_an_error_to_a_node() -> None:
    with (
        service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="2", LLM_MAX_CONCURRENT_REQUESTS="1") as busy,
        httpx2.stream(
            "POST", f"{busy.url}/service_output", json={"source": 1, "destination": 2, "data": "a b c"}
        ),
        pytest.raises(JobFailedError, match="container error 503"),
    ):
        NodeDouble("1.4.0", f"{busy.url}/service_output").onchain_subscription(ONCHAIN)


def test_service_resources(running: ServiceProcess) -> None:
    node = node_of(running, "1.4.0")
    resources: dict[str, Any] = node.resources(running.url)

    assert {"version", "service_id", "hardware_capabilities", "compute_capability"} <= set(resources)
    assert node.resources(running.url, "scripted") == {"supported": True}
    assert node.resources(running.url, "gpt-9") == {"supported": False}
