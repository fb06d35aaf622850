"""Thousands of generated bodies against a real process: it answers each, in time, and lives."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import jsonschema
import pytest
from eth_abi.abi import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.requests import InfernetInput, LLMRequest
from tests.service_process import ServiceProcess, service

NUM_BODIES = int(os.environ.get("FUZZ_BODIES", "2500"))
SLOWEST_S = 2.0

DATA_SCHEMA = LLMRequest.model_json_schema()
SCHEMA = InfernetInput.model_json_schema()
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)
texts = st.text()
data = st.fixed_dictionaries(
    {
        "key": texts,
        "messageId": texts,
        "text": texts,
        "history": st.lists(st.none() | st.dictionaries(st.sampled_from(["bot", "player"]) | texts, texts)),
    },
    optional={
        "parameters": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "max_tokens": st.none() | st.integers(1, 1_000_000),
                "temperature": st.floats(0, 10),
                "top_k": st.integers(0, 1_000_000),
                "top_p": st.floats(0, 1, exclude_min=True),
                "min_p": st.floats(0, 1),
                "repetition_penalty": st.floats(0.01, 10),
                "seed": st.none() | st.integers(0, 2**63 - 1),
                "stop": st.lists(st.text(min_size=1, max_size=256), max_size=16),
            },
        ),
        "a field of a later version": anything,
    },
)
destinations = {"destination": st.sampled_from([1, None]), "requires_proof": st.sampled_from([False, None])}
valid = st.fixed_dictionaries({"source": st.just(1), "data": data}, optional=destinations)
"""Off-chain requests that a chat workflow answers."""
hexadecimal = st.text(alphabet="0123456789abcdefABCDEF")
unpaired = st.text(st.characters(exclude_categories=["Cs"]))
onchain = st.fixed_dictionaries(
    {
        "source": st.sampled_from([0, 1]),
        "data": hexadecimal
        | hexadecimal.map("0x{}".format)
        | unpaired.map(lambda text: encode(["string"], [text]).hex())
        | st.dictionaries(texts, anything),
    },
    optional={"destination": st.sampled_from([0, 1, 2, None]), "requires_proof": st.booleans()},
)
"""What the chain has a part in, as it should be or not."""
keys = st.sampled_from(
    ["source", "data", "destination", "requires_proof", "key", "text", "history", "parameters"]
)


@st.composite
def nearly_valid(draw: st.DrawFn) -> Any:
    """A valid body with a field changed or taken away, outside or inside of ``data``."""
    body: dict[str, Any] = draw(valid)
    part = draw(st.sampled_from([body, body["data"]]))
    key = draw(keys)
    if draw(st.booleans()):
        part[key] = draw(anything)
    else:
        part.pop(key, None)
    return body


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


bodies = st.one_of(
    valid.map(encoded),
    valid.map(encoded),
    valid.map(encoded),
    onchain.map(encoded),
    nearly_valid().map(encoded),
    anything.map(encoded),
    st.binary(max_size=300),
    st.tuples(valid.map(encoded), st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]]),
)

validator = jsonschema.Draft202012Validator(SCHEMA)
data_validator = jsonschema.Draft202012Validator(DATA_SCHEMA)


def is_valid(body: bytes) -> bool:
    """Tell whether a body is what the published schemas of input and request allow."""
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not validator.is_valid(payload):
        return False
    return isinstance(payload["data"], str) or data_validator.is_valid(payload["data"])


@pytest.fixture(scope="module")
def scripted() -> Iterator[ServiceProcess]:
    with service("--workers=1", LLM_BACKEND="scripted", LLM_LOG_LEVEL="error") as running:
        yield running


@pytest.mark.timeout(600)
def test_no_body_breaks_the_service(scripted: ServiceProcess) -> None:
    outcomes: Counter[str] = Counter()
    slowest_s = 0.0
    (worker_pid,) = scripted.worker_pids
    with httpx2.Client(timeout=10) as client:

        @settings(max_examples=NUM_BODIES, database=None, suppress_health_check=list(HealthCheck))
        @given(body=bodies)
        def send(body: bytes) -> None:
            nonlocal slowest_s
            started_s = time.monotonic()
            response = client.post(
                f"{scripted.url}/service_output", content=body, headers={"Content-Type": "application/json"}
            )
            slowest_s = max(slowest_s, time.monotonic() - started_s)
            status = response.status_code
            assert status < 500, body
            assert status == 200 or response.json()["code"] == str(status)
            outcomes[f"status {status}"] += 1
            outcomes["valid"] += is_valid(body)
            outcomes["all"] += 1

        send()
    print(dict(outcomes), f"slowest {slowest_s:.3f} s")  # noqa: T201 - the figures of the run

    assert outcomes["all"] >= NUM_BODIES
    assert outcomes["valid"] >= outcomes["all"] / 3
    assert outcomes["status 200"] > outcomes["all"] / 5
    assert outcomes["status 400"] > 100
    assert slowest_s < SLOWEST_S
    assert scripted.worker_pids == [worker_pid]
    assert scripted.log_lines("request failed") == []
    assert scripted.post({"key": "1", "messageId": "2", "text": "alive", "history": []}).json() == "alive"
