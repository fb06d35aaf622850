"""Bounds on the tokens of a request: what asks for more is refused by its field, and nothing gets more."""

from typing import Any

import pytest

from adapters.scripted import ScriptedTextGenerator
from adapters.settings import Settings
from domain.errors import ConfigurationError
from domain.messages import ChatMessage, Prompt
from domain.requests import LLMRequest
from domain.workflow import LLMInferenceWorkflow
from entrypoints.container import build_container
from tests.unit.test_http_app import DATA, PAYLOAD, assert_is_error, client_of

CHAT = {"messages": [{"role": "user", "content": "one two three"}]}
LONG = " ".join(["word"] * 50)


class LongWindedWorkflow(LLMInferenceWorkflow):
    """Asks for long answers of its own accord."""

    def preprocess(self, request: LLMRequest) -> Prompt:
        parameters = self.ports.default_parameters.model_copy(update={"max_tokens": 40})
        return Prompt([ChatMessage("user", request.text)], parameters)


def asking(**parameters: Any) -> dict[str, Any]:
    return {**PAYLOAD, "data": {**DATA, "parameters": parameters}}


@pytest.mark.parametrize("extra", [{}, {"destination": 2}])
def test_a_prompt_of_a_workflow_that_is_too_long_names_the_data(extra: dict[str, Any]) -> None:
    with client_of(ScriptedTextGenerator(max_prompt_tokens=2)) as client:
        response = client.post("/service_output", json=PAYLOAD | extra)

    assert_is_error(response, 400, "data: the prompt of 3 tokens", "limit of 2 tokens")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", CHAT, "messages"),
        ("/v1/chat/completions", {**CHAT, "stream": True}, "messages"),
        ("/v1/completions", {"prompt": ["one", "one two three"]}, "prompt"),
        ("/v1/embeddings", {"input": ["one", "one two three"]}, "input.1"),
    ],
)
def test_a_prompt_that_is_too_long_names_its_field(path: str, body: dict[str, Any], field: str) -> None:
    with client_of(ScriptedTextGenerator(max_prompt_tokens=2)) as client:
        response = client.post(path, json=body)

    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (field, "context_length_exceeded")


def test_a_prompt_that_is_as_long_as_it_may_be_is_answered() -> None:
    with client_of(ScriptedTextGenerator(max_prompt_tokens=3)) as client:
        assert client.post("/service_output", json=PAYLOAD).status_code == 200
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Prefer": "respond-async"}, {"Idempotency-Key": "k"}])
def test_a_request_for_a_long_answer_is_refused_at_once(headers: dict[str, str]) -> None:
    with client_of(LLM_MAX_OUTPUT_TOKENS=7) as client:
        refused = client.post("/service_output", json=asking(max_tokens=8), headers=headers)
        answered = client.post("/service_output", json=asking(max_tokens=7))

    assert_is_error(refused, 400, "data.parameters.max_tokens: is more than the 7 tokens")
    assert answered.status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {**CHAT, "max_tokens": 8}, "max_tokens"),
        ("/v1/chat/completions", {**CHAT, "max_completion_tokens": 8}, "max_completion_tokens"),
        ("/v1/completions", {"prompt": "one", "max_tokens": 8}, "max_tokens"),
    ],
)
def test_openais_fields_for_a_long_answer_are_named(path: str, body: dict[str, Any], field: str) -> None:
    with client_of(LLM_MAX_OUTPUT_TOKENS=7) as client:
        response = client.post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


@pytest.mark.parametrize("default", [{"max_tokens": 30}, {}])
def test_who_asks_for_no_length_gets_no_more_than_the_limit(default: dict[str, int]) -> None:
    workflow = {"long": f"{__name__}.LongWindedWorkflow"}
    settings: dict[str, Any] = {"LLM_DEFAULT_PARAMETERS": default, "LLM_WORKFLOWS": workflow}
    with client_of(ScriptedTextGenerator(LONG), LLM_MAX_OUTPUT_TOKENS=7, **settings) as client:
        for path in ("/service_output", "/workflows/long/service_output"):
            assert client.post(path, json=PAYLOAD).headers["x-completion-tokens"] == "7"
        for path, body in (("chat/completions", CHAT), ("completions", {"prompt": "one"})):
            assert client.post(f"/v1/{path}", json=body).json()["usage"]["completion_tokens"] == 7


def test_a_backend_that_does_not_count_before_takes_no_limit_on_prompts() -> None:
    settings: dict[str, Any] = {
        "LLM_BACKEND": "openai",
        "LLM_OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "LLM_MAX_PROMPT_TOKENS": 9,
    }
    with pytest.raises(ConfigurationError, match="LLM_MAX_PROMPT_TOKENS"):
        build_container(Settings(_env_file=None, **settings))
