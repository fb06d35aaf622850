"""The application in process: on-chain requests, streams, jobs, tokens, and what a node asks besides."""

import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from eth_abi.abi import decode, encode
from starlette.testclient import TestClient

from adapters.scripted import ScriptedTextGenerator
from domain.errors import BackendError
from domain.generation import TokenChunk
from domain.messages import Prompt
from tests.fakes.backends import EndlessTextGenerator, FailingTextGenerator
from tests.unit.test_http_app import DATA, PAYLOAD, assert_is_error, client_of

FIELDS = ["raw_input", "processed_input", "raw_output", "processed_output", "proof"]
QUESTION = encode(["string"], ["my secret words"])


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


class BrokenFirstGenerator(EndlessTextGenerator):
    """Fails before its first word."""

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        if prompt.messages:
            raise BackendError("the backend is unreachable")
        yield TokenChunk("never")


@pytest.mark.parametrize("prefix", ["", "0x", "0X"])
@pytest.mark.parametrize("fields", [{}, {"destination": 0}, {"destination": 0, "requires_proof": False}])
def test_onchain_input_is_answered_with_five_fields_in_hex(
    client: TestClient, prefix: str, fields: dict[str, Any]
) -> None:
    payload = {"source": 0, "data": prefix + QUESTION.hex().upper(), **fields}
    response = client.post("/service_output", json=payload)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    reply = response.json()
    assert list(reply) == FIELDS
    assert reply["raw_input"] == QUESTION.hex()
    assert decode(["string"], bytes.fromhex(reply["raw_output"])) == ("my secret words",)
    assert reply["processed_input"] == reply["processed_output"] == reply["proof"] == ""


def test_a_delegated_request_is_answered_for_the_chain(client: TestClient) -> None:
    reply = client.post("/service_output", json=PAYLOAD | {"destination": 0}).json()

    assert bytes.fromhex(reply["raw_input"]) == QUESTION


@pytest.mark.parametrize("headers", [{}, {"Prefer": "respond-async"}])
def test_what_a_delegated_request_lacks_for_the_chain_is_found_before_the_work(
    headers: dict[str, str],
) -> None:
    generator = ScriptedTextGenerator(replies=["never"])
    chain = {"class": "domain.workflows.chat.ChatWorkflow", "chain": {"codec": "agent_reply"}}
    with client_of(generator, LLM_WORKFLOWS={"agent": chain}) as client:
        payload = PAYLOAD | {"destination": 0}
        response = client.post("/workflows/agent/service_output", json=payload, headers=headers)
        assert_is_error(response, 400, "data.messageId")
        assert client.get("/jobs").json() == {"jobs": []}

    assert generator.history == []


def test_onchain_input_for_another_container_is_answered_off_chain(client: TestClient) -> None:
    payload = {"source": 0, "destination": 1, "data": QUESTION.hex()}

    assert client.post("/service_output", json=payload).json() == "my secret words"


def test_the_first_of_a_chain_is_asked_for_a_proof_that_the_last_one_makes(client: TestClient) -> None:
    payload = {"source": 0, "destination": 1, "data": QUESTION.hex(), "requires_proof": True}

    assert client.post("/service_output", json=payload).json() == "my secret words"
    assert_is_error(
        client.post("/service_output", json=payload | {"destination": 0}), 400, "attaches no proofs"
    )


@pytest.mark.parametrize("destination", [0, 1, 2])
@pytest.mark.parametrize("code", ["400", "500", 503])
def test_the_error_of_the_container_before_is_no_input(
    client: TestClient, destination: int, code: str | int
) -> None:
    error = {"code": code, "name": "Bad Request", "description": "my secret words"}
    payload = {"source": 1, "destination": destination, "data": error}

    response = client.post("/service_output", json=payload)
    assert_is_error(response, 400, "data: is an error of the container before this one")
    assert "secret" not in response.text


def test_another_containers_output_is_the_input(client: TestClient) -> None:
    assert client.post("/service_output", json={"source": 1, "data": "my secret words"}).json() == (
        "my secret words"
    )


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"source": 0, "data": ""}, "data: is empty"),
        ({"source": 0, "data": "abc"}, "3 hex digits"),
        ({"source": 0, "data": "zz"}, "hex digits"),
        ({"source": 0, "data": "00"}, "is no ABI encoding of (string)"),
        ({"source": 0, "data": {}}, "on-chain input should be hex"),
        ({"source": 0, "destination": 9, "data": ""}, "destination"),
        ({"source": 1, "destination": 2, "data": DATA, "requires_proof": True}, "carries no proof"),
    ],
)
def test_a_wrong_request_has_a_code_that_a_node_understands(
    client: TestClient, payload: dict[str, Any], words: str
) -> None:
    assert_is_error(client.post("/service_output", json=payload), 400, words)


def test_an_object_that_the_codec_cannot_write_is_the_workflows_error(client: TestClient) -> None:
    response = client.post("/workflows/dict/service_output", json={"source": 0, "data": QUESTION.hex()})

    assert_is_error(response, 500, "(string)")
    assert "secret" not in response.text


def test_the_settings_name_types_for_a_workflows_object() -> None:
    chain = {"codec": "abi", "input": "(string)", "output": "(string answer)"}
    workflows = {"dict": {"class": "tests.unit.test_http_app.DictWorkflow", "chain": chain}}
    with client_of(LLM_WORKFLOWS=workflows) as client:
        payload = {"source": 0, "data": QUESTION.hex()}
        reply = client.post("/workflows/dict/service_output", json=payload).json()

    assert decode(["string"], bytes.fromhex(reply["raw_output"])) == ("my secret words",)


def test_the_layout_of_the_default_workflow_is_a_setting() -> None:
    with client_of(LLM_CHAIN_FORMAT={"codec": "text", "layout": "wrapped"}) as client:
        reply = client.post("/service_output", json={"source": 0, "data": QUESTION.hex()}).json()

    assert bytes.fromhex(reply["raw_output"]) == b"my secret words"


def test_a_stream_is_raw_text(client: TestClient) -> None:
    with client.stream("POST", "/service_output", json=PAYLOAD | {"destination": 2}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain")
        assert response.headers["x-model-id"] == "scripted"
        assert "".join(response.iter_text()) == "my secret words"


def test_a_workflow_with_postprocessing_streams_its_reply_in_one_piece(client: TestClient) -> None:
    response = client.post("/workflows/dict/service_output", json=PAYLOAD | {"destination": 2})

    assert response.text == '{"answer": "my secret words"}'


def test_a_stream_that_fails_before_its_first_piece_is_no_success() -> None:
    with client_of(BrokenFirstGenerator()) as client:
        assert_is_error(client.post("/service_output", json=PAYLOAD | {"destination": 2}), 503)


def test_a_stream_that_fails_later_ends_with_a_marker() -> None:
    with client_of(FailingTextGenerator()) as client:
        response = client.post("/service_output", json=PAYLOAD | {"destination": 2})

    assert response.status_code == 200
    text, marker, error = response.text.partition("\n\n[stream broken off] ")
    assert text == "almost"
    assert marker
    assert '"code": "503"' in error


def test_a_wrong_request_for_a_stream_is_a_400(client: TestClient) -> None:
    assert_is_error(client.post("/service_output", json={"source": 1, "destination": 2, "data": {}}), 400)


def test_a_stream_ends_at_the_deadline() -> None:
    with client_of(EndlessTextGenerator(), LLM_REQUEST_TIMEOUT_S=0.05) as client:
        assert_is_error(client.post("/service_output", json=PAYLOAD | {"destination": 2}), 504)


def test_a_job_is_accepted_and_done_later(client: TestClient) -> None:
    accepted = client.post("/service_output", json=PAYLOAD, headers={"Prefer": "respond-async"})

    assert accepted.status_code == 202
    assert accepted.headers["preference-applied"] == "respond-async"
    location = accepted.headers["location"]
    job = client.get(location, params={"wait": 5}).json()
    assert location == f"/jobs/{job['id']}"
    assert (job["status"], job["result"], job["attempts"]) == ("succeeded", "my secret words", 1)
    assert job["usage"]["completion_tokens"] == 3
    assert [listed["id"] for listed in client.get("/jobs").json()["jobs"]] == [job["id"]]

    assert client.delete(location).status_code == 204
    assert_is_error(client.get(location), 404, "no job")
    assert_is_error(client.delete(location), 404)


def test_a_job_that_fails_says_why(client: TestClient) -> None:
    payload = {"source": 1, "data": DATA | {"text": "raise"}}
    headers = {"Prefer": "wait=1, respond-async"}
    accepted = client.post("/workflows/broken/service_output", json=payload, headers=headers)

    job = client.get(accepted.headers["location"], params={"wait": 5}).json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "code": "500",
        "name": "Internal Server Error",
        "description": "the workflow's postprocess failed (ValueError)",
    }


def test_a_wrong_request_is_not_accepted_as_a_job(client: TestClient) -> None:
    headers = {"Prefer": "respond-async"}
    assert_is_error(client.post("/service_output", json={"source": 1, "data": {}}, headers=headers), 400)
    assert client.get("/jobs").json() == {"jobs": []}


def test_a_running_job_is_cancelled() -> None:
    generator = EndlessTextGenerator()
    with client_of(generator) as client:
        accepted = client.post("/service_output", json=PAYLOAD, headers={"Prefer": "respond-async"})
        location = accepted.headers["location"]
        wait_until(lambda: generator.num_running == 1)
        assert client.get(location, params={"wait": 0.1}).json()["status"] == "running"

        assert client.delete(location).json()["status"] == "cancelled"
        assert generator.num_running == 0
        assert client.get(location).json()["status"] == "cancelled"


def wait_until(holds: Any) -> None:
    deadline_s = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("query", [{"wait": "x"}, {"wait": -1}, {"wait": 61}])
def test_a_wait_that_is_none_is_a_400(client: TestClient, query: dict[str, Any]) -> None:
    assert_is_error(client.get("/jobs/any", params=query), 400, "wait")


def test_a_request_with_a_key_is_done_once() -> None:
    with client_of(ScriptedTextGenerator(replies=["first", "second"])) as client:
        headers = {"Idempotency-Key": "k"}
        first = client.post("/service_output", json=PAYLOAD, headers=headers)
        second = client.post("/service_output", json=PAYLOAD, headers=headers)
        other_key = client.post("/service_output", json=PAYLOAD, headers={"Idempotency-Key": "l"})
        other_request = client.post("/service_output", json=PAYLOAD | {"destination": 1}, headers=headers)

    assert first.json() == second.json() == "first"
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-completion-tokens"] == first.headers["x-completion-tokens"]
    assert other_key.json() == "second"
    assert_is_error(other_request, 400, "Idempotency-Key: was used for another request")


@pytest.mark.parametrize("payload", [{"source": 0, "data": QUESTION.hex()}, PAYLOAD | {"destination": 0}])
def test_what_was_answered_at_once_and_has_no_key_is_listed_without_its_text(
    client: TestClient, payload: dict[str, Any]
) -> None:
    assert client.post("/service_output", json=payload).status_code == 200

    (job,) = client.get("/jobs").json()["jobs"]
    assert (job["status"], job["usage"]["completion_tokens"]) == ("succeeded", 3)
    assert "result" not in job


def test_a_key_of_a_job_names_that_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k", "Prefer": "respond-async"}
    accepted = [client.post("/service_output", json=PAYLOAD, headers=headers) for _ in range(3)]
    client.get(accepted[0].headers["location"], params={"wait": 5})
    replayed = client.post("/service_output", json=PAYLOAD, headers={"Idempotency-Key": "k"})

    assert len({response.headers["location"] for response in accepted}) == 1
    assert replayed.json() == "my secret words"
    assert replayed.headers["idempotent-replayed"] == "true"


def test_a_key_in_use_is_a_409() -> None:
    with client_of(EndlessTextGenerator()) as client:
        headers = {"Idempotency-Key": "k"}
        client.post("/service_output", json=PAYLOAD, headers=headers | {"Prefer": "respond-async"})
        response = client.post("/service_output", json=PAYLOAD, headers=headers)

    assert_is_error(response, 409, "being served")
    assert response.headers["retry-after"] == "1"


def test_a_failure_that_may_pass_is_not_kept_under_a_key() -> None:
    with client_of(FailingTextGenerator()) as client:
        for _ in range(2):
            response = client.post("/service_output", json=PAYLOAD, headers={"Idempotency-Key": "k"})
            assert_is_error(response, 503)


def test_a_failure_of_the_workflow_is_kept_under_a_key(client: TestClient) -> None:
    payload = {"source": 1, "data": DATA | {"text": "raise"}}
    headers = {"Idempotency-Key": "k"}
    first, second = (
        client.post("/workflows/broken/service_output", json=payload, headers=headers) for _ in range(2)
    )

    assert_is_error(first, 500, "ValueError")
    assert first.json() == second.json()


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9"])
def test_a_key_that_is_none_is_a_400(client: TestClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    assert_is_error(client.post("/service_output", json=PAYLOAD, headers=headers), 400, "Idempotency-Key")


TOKENS = ["first-token", "second-token"]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong-token", "Basic first-token", "bearer first-token2"],
)
@pytest.mark.parametrize("path", ["/jobs", "/service-resources", "/jobs/x", "/nothing", "/service_output"])
def test_without_a_token_nothing_is_told(authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with client_of(LLM_AUTH_TOKENS=TOKENS) as client:
        response = client.get(path, headers=headers)

        assert_is_error(response, 401, "token")
        assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_a_job_belongs_to_the_token_that_made_it() -> None:
    with client_of(LLM_AUTH_TOKENS=TOKENS) as client:
        mine, others = ({"Authorization": f"bearer {token}"} for token in TOKENS)
        headers = mine | {"Prefer": "respond-async", "Idempotency-Key": "k"}
        location = client.post("/service_output", json=PAYLOAD, headers=headers).headers["location"]
        same_key = client.post("/service_output", json=PAYLOAD, headers=headers | others)

        assert client.get(location, headers=mine).status_code == 200
        assert_is_error(client.get(location, headers=others), 404)
        assert_is_error(client.delete(location, headers=others), 404)
        assert same_key.headers["location"] != location
        assert len(client.get("/jobs", headers=others).json()["jobs"]) == 1


def test_a_node_learns_what_there_is(client: TestClient) -> None:
    resources = client.get("/service-resources").json()

    assert set(resources) == {"version", "service_id", "hardware_capabilities", "compute_capability"}
    assert resources["service_id"] == "llm-inference-service"
    assert resources["compute_capability"][0]["models"] == ["scripted"]
    assert client.get("/service-resources", params={"model_id": "scripted"}).json() == {"supported": True}
    assert client.get("/service-resources", params={"model_id": "other"}).json() == {"supported": False}


def test_the_schema_of_a_workflow_is_published(client: TestClient) -> None:
    schema = client.get("/service_output/schema").json()

    assert set(schema["infernet_input"]["properties"]) == {"source", "data", "destination", "requires_proof"}
    assert "messageId" in schema["data"]["anyOf"][0]["properties"]
    assert client.get("/workflows/dict/service_output/schema").status_code == 200
