"""OpenAI's API in process: the form of each answer, and of each refusal."""

import base64
import json
import math
import struct
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from adapters.scripted import ScriptedTextGenerator
from domain.constraints import OutputConstraint
from domain.errors import BackendError, FieldProblem, InvalidRequestError, OverloadedError
from domain.generation import (
    Capability,
    Embedding,
    FinishReason,
    ModelDescription,
    SamplingParameters,
    TokenChunk,
    TokenLogprob,
    Usage,
)
from domain.messages import ChatMessage, Prompt
from entrypoints.http.openai_api.completion_request import CompletionRequest
from tests.fakes.backends import (
    BareTextGenerator,
    EndlessTextGenerator,
    FailingTextGenerator,
    SilentTextGenerator,
)
from tests.unit.test_http_app import client_of

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
HELLO = {"model": "scripted", "messages": [{"role": "user", "content": "to be or"}]}
TEXT = {"model": "scripted", "prompt": "to be or"}


class RecordingTextGenerator(BareTextGenerator):
    """Can do everything, answers one word, and keeps the prompts."""

    capabilities = frozenset(Capability)

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        self.prompts.append(prompt)
        yield TokenChunk("yes")
        yield TokenChunk("", FinishReason.STOP, Usage(7, 1, 5))


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


def events(response: Any) -> list[Any]:
    """Return the events of a stream; ``[DONE]`` as it stands."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *blocks, end = response.text.split("\n\n")
    assert end == ""
    texts = [block.removeprefix("data: ") for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def assert_is_error(
    response: Any, status: int, *words: str, param: str | None = None, code: str | None = None
) -> None:
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["code"] == code
    for word in words:
        assert word in error["message"]
    assert "x-request-id" in response.headers


def prompt_of(body: dict[str, Any], path: str = CHAT, **settings: Any) -> Prompt:
    """Return what a request asks of the model."""
    backend = RecordingTextGenerator()
    with client_of(backend, **settings) as client:
        response = client.post(path, json={k: v for k, v in body.items() if k != "model"})
        assert response.status_code == 200, response.text
    return backend.prompts[0]


def test_a_conversation_is_answered_in_openais_form(client: TestClient) -> None:
    response = client.post(CHAT, json=HELLO)

    body = response.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert abs(body.pop("created") - time.time()) < 60
    assert body == {
        "object": "chat.completion",
        "model": "scripted",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "to be or", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
    assert response.headers["x-model-id"] == "scripted"


def test_a_stream_opens_with_the_role_and_ends_with_reason_usage_and_done(client: TestClient) -> None:
    body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}

    first, *chunks, usage, done = events(client.post(CHAT, json=body))

    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "to be or"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 6
    assert all(chunk["usage"] is None for chunk in chunks)
    assert len({chunk["id"] for chunk in (first, *chunks, usage)}) == 1
    assert done == "[DONE]"


def test_a_stream_says_nothing_of_usage_unless_asked(client: TestClient) -> None:
    *chunks, _ = events(client.post(CHAT, json=HELLO | {"stream": True}))

    assert all("usage" not in chunk and len(chunk["choices"]) == 1 for chunk in chunks)


def test_a_text_is_gone_on_with(client: TestClient) -> None:
    body = client.post(COMPLETIONS, json=TEXT).json()

    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "text": "to be or", "logprobs": None, "finish_reason": "stop"}]

    *chunks, done = events(client.post(COMPLETIONS, json=TEXT | {"stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "to be or"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"


def test_each_prompt_is_answered_n_times_in_order_and_counted_once(client: TestClient) -> None:
    body = client.post(COMPLETIONS, json={"prompt": ["one two", "three"], "n": 2}).json()

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in body["choices"]] == ["one two", "one two", "three", "three"]
    assert body["usage"]["prompt_tokens"] == 3
    assert body["usage"]["completion_tokens"] == 6


def test_the_choices_of_a_stream_are_merged_and_each_ends_once() -> None:
    body = HELLO | {"n": 3, "stream": True, "stream_options": {"include_usage": True}}
    with client_of(ScriptedTextGenerator(delay_s=0.01)) as client:
        *chunks, usage, _ = events(client.post(CHAT, json=body))

    choices = [chunk["choices"][0] for chunk in chunks]
    for index in range(3):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in own) == "to be or"
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
        assert own[-1]["finish_reason"] == "stop"
    assert usage["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 9,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    # they run at once: the second begins before the first has ended
    assert [choice["index"] for choice in choices] != sorted(choice["index"] for choice in choices)


def test_cached_tokens_are_told() -> None:
    with client_of(RecordingTextGenerator()) as client:
        usage = client.post(CHAT, json=HELLO | {"model": None}).json()["usage"]

    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}


def test_log_probabilities_of_a_conversation(client: TestClient) -> None:
    asked = HELLO | {"logprobs": True, "top_logprobs": 2}

    content = client.post(CHAT, json=asked).json()["choices"][0]["logprobs"]["content"]

    assert [entry["token"] for entry in content] == ["to", " be", " or"]
    assert content[1]["bytes"] == list(b" be")
    assert content[1]["logprob"] == pytest.approx(-0.6931, abs=1e-4)
    assert [other["token"] for other in content[1]["top_logprobs"]] == [" be", " other1"]

    *chunks, _ = events(client.post(CHAT, json=asked | {"stream": True}))
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert [entry for logprobs in streamed for entry in logprobs["content"]] == content


def test_log_probabilities_of_a_text(client: TestClient) -> None:
    asked = TEXT | {"logprobs": 1}

    logprobs = client.post(COMPLETIONS, json=asked).json()["choices"][0]["logprobs"]

    assert logprobs["tokens"] == ["to", " be", " or"]
    assert logprobs["text_offset"] == [0, 2, 5]
    assert logprobs["token_logprobs"] == pytest.approx([-0.6931] * 3, abs=1e-4)
    assert [list(top) for top in logprobs["top_logprobs"]] == [["to"], [" be"], [" or"]]

    *chunks, _ = events(client.post(COMPLETIONS, json=asked | {"stream": True}))
    offsets = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert [offset for part in offsets for offset in part["text_offset"]] == [0, 2, 5]


@pytest.mark.parametrize(
    ("chosen", "others", "expected"),
    [
        (("c", -3.0), [("a", -1.0), ("b", -2.0)], [("a", -1.0), ("b", -2.0), ("c", -3.0)]),
        (("b", -2.0), [("a", -1.0), ("b", -2.0)], [("a", -1.0), ("b", -2.0)]),
        (("b", -3.0), [("�", -1.0), ("b", -3.0), ("�", -4.0)], [("�", -1.0), ("b", -3.0)]),
        (("c", -3.0), [], [("c", -3.0)]),
    ],
    ids=["beyond the likeliest", "among them", "two that read alike", "alone"],
)
def test_the_chosen_token_of_a_text_is_among_the_likeliest(
    chosen: tuple[str, float], others: list[tuple[str, float]], expected: list[tuple[str, float]]
) -> None:
    def logprob(token: str, value: float, *alternatives: TokenLogprob) -> TokenLogprob:
        return TokenLogprob(token, token.encode(), value, alternatives)

    class Choosing(RecordingTextGenerator):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            alternatives = [logprob(*other) for other in others]
            yield TokenChunk("c", logprobs=(logprob(*chosen, *alternatives),))
            yield TokenChunk("", FinishReason.STOP, Usage(1, 1))

    with client_of(Choosing()) as client:
        body = client.post(COMPLETIONS, json={"prompt": "a", "logprobs": len(others)}).json()

    (top,) = body["choices"][0]["logprobs"]["top_logprobs"]
    assert list(top.items()) == expected


def test_a_log_probability_of_minus_infinity_is_a_number() -> None:
    class Sure(RecordingTextGenerator):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            yield TokenChunk("a", logprobs=(TokenLogprob("a", b"a", float("-inf")),))
            yield TokenChunk("", FinishReason.STOP, Usage(1, 1))

    with client_of(Sure()) as client:
        body = client.post(CHAT, json={"messages": HELLO["messages"], "logprobs": True}).json()

    assert body["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0


def test_openais_defaults_are_those_of_a_request_that_says_nothing() -> None:
    prompt = prompt_of(HELLO)

    assert prompt == Prompt([ChatMessage("user", "to be or")], SamplingParameters(temperature=1.0))
    assert prompt_of(TEXT, COMPLETIONS) == Prompt(
        (), SamplingParameters(max_tokens=16, temperature=1.0), "to be or"
    )


def test_the_services_own_bound_is_that_of_an_answer_which_names_none() -> None:
    assert prompt_of(HELLO, LLM_DEFAULT_PARAMETERS='{"max_tokens": 9}').parameters.max_tokens == 9
    assert prompt_of(HELLO, LLM_DEFAULT_PARAMETERS='{"top_k": 9}').parameters.max_tokens is None
    assert prompt_of(HELLO, LLM_MAX_OUTPUT_TOKENS=7).parameters.max_tokens == 7


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert prompt_of(HELLO | {"max_tokens": 5.0, "top_k": 3.0}).parameters.max_tokens == 5


def test_every_field_reaches_the_model() -> None:
    prompt = prompt_of(
        HELLO
        | {
            "max_completion_tokens": 5,
            "max_tokens": 99,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "min_p": 0.1,
            "repetition_penalty": 1.1,
            "presence_penalty": 0.2,
            "frequency_penalty": -0.3,
            "seed": 11,
            "stop": ["a", "b"],
            "ignore_eos": True,
            "logprobs": True,
            "top_logprobs": 4,
            "priority": -3,
            "user": "someone",
            "unheard_of": {"x": 1},
        }
    )

    assert prompt.priority == -3
    assert prompt.parameters == SamplingParameters(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=-0.3,
        seed=11,
        stop=("a", "b"),
        ignore_eos=True,
        top_logprobs=4,
    )


def test_a_null_is_as_good_as_nothing() -> None:
    fields = ("temperature", "stop", "n", "seed", "response_format", "logit_bias", "stream_options", "tools")

    assert prompt_of(HELLO | dict.fromkeys(fields)) == prompt_of(HELLO)


def test_a_top_p_of_0_is_greedy() -> None:
    parameters = prompt_of(HELLO | {"top_p": 0, "temperature": 0.7}).parameters

    assert parameters == SamplingParameters(temperature=0.0)


def test_values_that_ask_for_nothing_else_are_taken() -> None:
    neutral = {
        "min_tokens": 0,
        "stop_token_ids": [],
        "include_stop_str_in_output": False,
        "skip_special_tokens": True,
        "add_special_tokens": False,
        "use_beam_search": False,
        "top_logprobs": 0,
        "echo": False,
        "add_generation_prompt": True,
        "continue_final_message": False,
        "chat_template_kwargs": {},
        "messages": [{"role": "user", "content": "to be or", "tool_calls": []}],
    }

    assert prompt_of(HELLO | neutral) == prompt_of(HELLO)


def test_a_least_length_is_taken_where_no_answer_ends_by_itself() -> None:
    asked = {"ignore_eos": True, "max_tokens": 5}

    assert prompt_of(HELLO | asked | {"min_tokens": 5}) == prompt_of(HELLO | asked)


def test_completions_begin_as_the_model_s_texts_do() -> None:
    assert CompletionRequest.model_validate({"prompt": "a", "add_special_tokens": True}).prompts(None)
    with pytest.raises(ValidationError, match="not supported"):
        CompletionRequest.model_validate({"prompt": "a", "add_special_tokens": False})


def test_other_ways_to_say_a_value() -> None:
    prompt = prompt_of(HELLO | {"stop": "a", "top_k": -1, "seed": -1, "logit_bias": {}, "echo": False})

    assert prompt.parameters.stop == ("a",)
    assert prompt.parameters.top_k == 0
    assert prompt.parameters.seed == 2**63 - 1


def test_the_answers_to_one_seed_differ_by_it() -> None:
    backend = RecordingTextGenerator()
    with client_of(backend) as client:
        client.post(CHAT, json={"messages": HELLO["messages"], "n": 3, "seed": 5})

    assert [prompt.parameters.seed for prompt in backend.prompts] == [5, 6, 7]


def test_messages_of_every_role_and_in_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": parts, "name": "Bo"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": ""},
    ]

    assert prompt_of({"messages": messages}).messages == [
        ChatMessage("system", "be brief"),
        ChatMessage("system", "be kind"),
        ChatMessage("user", "one\ntwo"),
        ChatMessage("assistant", "yes"),
        ChatMessage("user", ""),
    ]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
            {"json_schema": SCHEMA},
        ),
        ({"structured_outputs": {"json": SCHEMA}}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json_object": True}}, {"json_schema": {"type": "object"}}),
        ({"structured_outputs": {"regex": "a+"}}, {"regex": "a+"}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, {"choices": ("a", "b")}),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, {"grammar": 'start: "a"'}),
        ({"guided_json": SCHEMA}, {"json_schema": SCHEMA}),
        ({"guided_json": json.dumps(SCHEMA)}, {"json_schema": SCHEMA}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a"]}, {"choices": ("a",)}),
        ({"guided_grammar": 'start: "a"'}, {"grammar": 'start: "a"'}),
    ],
)
@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), (COMPLETIONS, TEXT)])
def test_forms_that_an_answer_must_have(
    path: str, body: dict[str, Any], fields: dict[str, Any], constraint: dict[str, Any] | None
) -> None:
    expected = None if constraint is None else OutputConstraint(**constraint)

    assert prompt_of(body | fields, path).parameters.constraint == expected


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"messages": None}, "messages", "valid list"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": ["hi"]}, "messages.0", ""),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'assistant'"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages.0.content", "list of text parts"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.type",
            "'text'",
        ),
        ({"temperature": "hot"}, "temperature", "valid number"),
        ({"temperature": "0.5"}, "temperature", "valid number"),
        ({"temperature": 11}, "temperature", "less than or equal to 10"),
        ({"top_p": -0.1}, "top_p", "greater than or equal to 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "integer"),
        ({"max_tokens": True}, "max_tokens", "integer"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens", "integer"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 17}, "n", "less than or equal to 16"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "set stream to true"),
        ({"stop": 5}, "stop", "list"),
        ({"stop": ["a", 5]}, "stop.1", "string"),
        ({"stop": ["x"] * 17}, "stop", "at most 16"),
        ({"seed": "one"}, "seed", "integer"),
        ({"presence_penalty": 3}, "presence_penalty", "less than or equal to 2"),
        ({"top_logprobs": 2}, "top_logprobs", "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"logprobs": 3}, "logprobs", "boolean"),
        ({"logit_bias": {"50": 1}}, "logit_bias", "not supported"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"modalities": ["audio"]}, "modalities", "text"),
        ({"min_tokens": 1}, "min_tokens", "with ignore_eos only"),
        ({"stop_token_ids": [2]}, "stop_token_ids", "not supported"),
        ({"include_stop_str_in_output": True}, "include_stop_str_in_output", "not supported"),
        ({"skip_special_tokens": False}, "skip_special_tokens", "not supported"),
        ({"add_special_tokens": True}, "add_special_tokens", "not supported"),
        ({"bad_words": ["x"]}, "bad_words", "not supported"),
        ({"allowed_token_ids": [1]}, "allowed_token_ids", "not supported"),
        ({"use_beam_search": True}, "use_beam_search", "not supported"),
        ({"prompt_logprobs": 0}, "prompt_logprobs", "not supported"),
        ({"truncate_prompt_tokens": -1}, "truncate_prompt_tokens", "not supported"),
        ({"return_token_ids": True}, "return_token_ids", "not supported"),
        ({"echo": True}, "echo", "not supported"),
        ({"add_generation_prompt": False}, "add_generation_prompt", "not supported"),
        ({"continue_final_message": True}, "continue_final_message", "not supported"),
        ({"chat_template": "{{ 1 }}"}, "chat_template", "not supported"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs", "not supported"),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            "stream_options.continuous_usage_stats",
            "not supported",
        ),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
            "messages.0.tool_calls",
            "not supported",
        ),
        ({"response_format": "json"}, "response_format", ""),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "required"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
            "required",
        ),
        ({"guided_json": 5}, "guided_json", "dictionary"),
        ({"structured_outputs": {"json": [1]}}, "structured_outputs.json", "dictionary"),
        ({"guided_json": "{"}, "guided_json", "no JSON"),
        ({"guided_json": "[1]"}, "guided_json", "dictionary"),
        ({"guided_choice": []}, "guided_choice", "at least 1"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice", "guided_regex"),
        ({"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs.regex", "combined"),
        ({"priority": "high"}, "priority", "integer"),
        ({"model": 5}, "model", "string"),
    ],
)
def test_a_field_that_is_wrong_is_a_400_that_names_it(
    client: TestClient, fields: dict[str, Any], param: str, words: str
) -> None:
    response = client.post(CHAT, json=HELLO | fields)

    assert_is_error(response, 400, param, words, param=param)
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": None}, "prompt", "list of strings"),
        ({"prompt": []}, "prompt", "at least 1"),
        ({"prompt": [1, 2]}, "prompt", "token ids"),
        ({"prompt": [[1, 2]]}, "prompt", "token ids"),
        ({"prompt": ["a", 2]}, "prompt.1", "string"),
        ({"prompt": ["a"] * 65}, "prompt", "at most 64"),
        ({"prompt": ["a"] * 64, "n": 3}, "n", "128"),
        ({"echo": True}, "echo", "not supported"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"best_of": 2}, "best_of", "not supported"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
    ],
)
def test_a_completion_that_is_wrong_is_a_400_that_names_the_field(
    client: TestClient, fields: dict[str, Any], param: str, words: str
) -> None:
    assert_is_error(client.post(COMPLETIONS, json=TEXT | fields), 400, words, param=param)


@pytest.mark.parametrize(
    ("path", "body", "named", "param"),
    [
        (CHAT, HELLO, "data.history", "messages"),
        (CHAT, HELLO | {"guided_regex": "a"}, "constraint.regex", "guided_regex"),
        (
            CHAT,
            HELLO | {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
            "constraint.json_schema",
            "response_format.json_schema.schema",
        ),
        (
            COMPLETIONS,
            TEXT | {"structured_outputs": {"choice": ["a"]}},
            "constraint.choices",
            "structured_outputs.choice",
        ),
        (COMPLETIONS, TEXT, "prompt", "prompt"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_the_backend_refuses_has_the_name_that_the_caller_gave_it(
    path: str, body: dict[str, Any], named: str, param: str, stream: bool
) -> None:
    class Refusing(RecordingTextGenerator):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            raise InvalidRequestError(FieldProblem(named, "is too complex"))
            yield TokenChunk("")

    with client_of(Refusing()) as client:
        response = client.post(path, json=body | {"model": None, "stream": stream})

    assert_is_error(response, 400, f"{param}: is too complex", param=param)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [5] * 1000}),
        (CHAT, {"messages": [{"role": "user", "content": [5] * 1000}]}),
        (CHAT, HELLO | {"guided_choice": [5] * 1000}),
        (CHAT, HELLO | {"stop": [5] * 16}),
        (COMPLETIONS, {"prompt": ["a", *[{}] * 50]}),
        ("/v1/embeddings", {"input": ["a", *[{}] * 1000]}),
    ],
)
def test_a_list_is_read_no_further_than_its_first_wrong_item(
    client: TestClient, path: str, body: dict[str, Any]
) -> None:
    response = client.post(path, json=body)

    assert response.status_code == 400
    assert ";" not in response.json()["error"]["message"]


def test_another_model_is_a_404(client: TestClient) -> None:
    for path, body in ((CHAT, HELLO), (COMPLETIONS, TEXT), ("/v1/embeddings", {"input": "a"})):
        response = client.post(path, json=body | {"model": "gpt-4"})
        assert_is_error(response, 404, "/v1/models", param="model", code="model_not_found")
    assert_is_error(client.get("/v1/models/gpt-4"), 404, param="model", code="model_not_found")


def test_a_model_that_only_its_server_knows_is_a_503_until_the_server_is_there() -> None:
    class Unknown(BareTextGenerator):
        model = ModelDescription("unknown", fingerprint=None)
        error: BackendError | None = BackendError("the backend cannot be reached")

        async def ping(self) -> None:
            if self.error is not None:
                raise self.error
            self.model = ModelDescription("known")

    backend = Unknown()
    with client_of(backend) as client:
        for path, body in ((CHAT, HELLO), (COMPLETIONS, TEXT), ("/v1/embeddings", {"input": "a"})):
            response = client.post(path, json=body | {"model": "known"})
            assert_is_error(response, 503, "cannot be reached", code="unavailable")
        for path in ("/v1/models", "/v1/models/known"):
            assert_is_error(client.get(path), 503, code="unavailable")
        backend.error = None
        assert client.post(CHAT, json=HELLO | {"model": "known"}).json()["model"] == "known"
        assert_is_error(client.get("/v1/models/other"), 404, param="model", code="model_not_found")


def test_the_model_is_listed_and_described(client: TestClient) -> None:
    listed = client.get("/v1/models").json()

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["scripted"]
    assert client.get("/v1/models/scripted").json() == listed["data"][0]


def test_a_model_whose_name_has_a_slash_is_found() -> None:
    class Slashed(BareTextGenerator):
        model = BareTextGenerator.model.__class__("owner/name")

    with client_of(Slashed()) as client:
        assert client.get("/v1/models/owner/name").json()["id"] == "owner/name"


def test_embeddings_as_numbers_and_in_base64(client: TestClient) -> None:
    texts = [f"text number {i}" for i in range(20)]

    floats = client.post("/v1/embeddings", json={"input": texts}).json()
    encoded = client.post(
        "/v1/embeddings", json={"input": texts[3], "encoding_format": "base64", "model": "scripted"}
    ).json()

    assert [entry["index"] for entry in floats["data"]] == list(range(20))
    assert floats["usage"] == {"prompt_tokens": 60, "total_tokens": 60}
    vector = floats["data"][3]["embedding"]
    decoded = struct.unpack("<64f", base64.b64decode(encoded["data"][0]["embedding"]))
    assert decoded == pytest.approx(vector)
    assert math.hypot(*vector) == pytest.approx(1)
    assert floats["data"][4]["embedding"] != vector


def test_an_embedding_of_zeros_stays_one() -> None:
    class Zero(RecordingTextGenerator):
        async def embed(self, text: str) -> Embedding:
            return Embedding((0.0, 0.0), Usage(1, 0))

    with client_of(Zero()) as client:
        body = client.post("/v1/embeddings", json={"input": "a"}).json()

    assert body["data"][0]["embedding"] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": ["a", ""]}, "input.1", "no text to embed"),
        ({"input": "a", "dimensions": 8}, "dimensions", "not supported"),
        ({"input": "a", "truncate_prompt_tokens": 1}, "truncate_prompt_tokens", "not supported"),
        ({"input": "a", "normalize": False}, "normalize", "not supported"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'base64'"),
        ({"input": [[1]]}, "input", "token ids"),
        ({}, "input", "required"),
    ],
)
def test_an_embedding_that_cannot_be_made_is_a_400(
    client: TestClient, fields: dict[str, Any], param: str, words: str
) -> None:
    assert_is_error(client.post("/v1/embeddings", json=fields), 400, words, param=param)


def test_what_the_backend_cannot_do_is_a_501_that_names_it() -> None:
    messages = HELLO["messages"]
    with client_of(BareTextGenerator()) as client:
        for path, body, words in (
            (CHAT, {"messages": messages, "logprobs": True}, "log probabilities"),
            (CHAT, {"messages": messages, "guided_regex": "a", "stream": True}, "constrained output"),
            (COMPLETIONS, {"prompt": "a"}, "without a chat template"),
            ("/v1/embeddings", {"input": "a"}, "embeddings"),
        ):
            response = client.post(path, json=body)
            assert_is_error(response, 501, "bare", words, code="not_supported")
            assert response.headers["x-should-retry"] == "false"


def test_a_workflow_is_refused_what_its_backend_cannot_do() -> None:
    parameters = {"constraint": {"regex": "a"}}
    data = {"key": "", "messageId": "", "text": "a", "history": [], "parameters": parameters}
    with client_of(BareTextGenerator()) as client:
        response = client.post("/service_output", json={"source": 1, "data": data})

    assert response.status_code == 501
    assert "constrained output" in response.json()["description"]


def test_the_frameworks_errors_have_openais_form(client: TestClient) -> None:
    assert_is_error(client.get("/v1/nothing"), 404)
    assert_is_error(client.get(CHAT), 405)
    assert_is_error(client.post(CHAT, content=b"x", headers={"Content-Type": "text/plain"}), 415)
    assert_is_error(client.post(CHAT, content=b"{"), 400, "not JSON")
    with client_of(LLM_MAX_BODY_BYTES=10) as small:
        assert_is_error(small.post(CHAT, json=HELLO), 413)
    with client_of(LLM_AUTH_TOKENS="a-long-token") as closed:
        refused = closed.post(CHAT, json=HELLO)
        assert_is_error(refused, 401)
        assert refused.headers["www-authenticate"] == "Bearer"
        headers = {"Authorization": "Bearer a-long-token"}
        assert closed.post(CHAT, json=HELLO, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT, HELLO, "messages"),
        (COMPLETIONS, TEXT, "prompt"),
        ("/v1/embeddings", {"input": "a b c"}, "input.0"),
    ],
)
def test_a_context_that_is_too_long_has_its_code_and_openais_first_words(
    path: str, body: dict[str, Any], field: str
) -> None:
    with client_of(ScriptedTextGenerator(context_length=3)) as client:
        response = client.post(path, json=body | {"stream": True})

    words = "This model's maximum context length is 3 tokens. However, the prompt of 3 tokens"
    assert_is_error(response, 400, words, param=field, code="context_length_exceeded")


def test_a_backend_that_fails_before_the_first_word_is_a_status() -> None:
    class Gone(BareTextGenerator):
        error: Exception = BackendError("the backend cannot be reached", retry_after_s=3)

        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            raise self.error
            yield TokenChunk("")

    class Busy(Gone):
        error = OverloadedError("too much", retry_after_s=4)

    class Mad(Gone):
        error = ZeroDivisionError("my secret")

    body = {"messages": HELLO["messages"], "stream": True}
    with client_of(Gone()) as client:
        response = client.post(CHAT, json=body)
        assert_is_error(response, 503, "cannot be reached", code="unavailable")
        assert response.headers["retry-after"] == "3"
    with client_of(Busy()) as client:
        response = client.post(CHAT, json=body)
        assert_is_error(response, 429, "too much", code="overloaded")
        assert response.headers["retry-after"] == "4"
    with client_of(Mad()) as client:
        response = client.post(CHAT, json=body)
        assert_is_error(response, 500)
        assert "secret" not in response.text


@pytest.mark.parametrize(
    ("backend", "words"), [(FailingTextGenerator(), "unreachable"), (SilentTextGenerator(), "broke off")]
)
def test_a_backend_that_fails_later_ends_the_stream_with_an_error_event(
    backend: BareTextGenerator, words: str
) -> None:
    with client_of(backend) as client:
        opening, piece, error = events(
            client.post(CHAT, json={"messages": HELLO["messages"], "stream": True})
        )
        whole = client.post(CHAT, json={"messages": HELLO["messages"]})

    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert piece["choices"][0]["delta"]["content"] == "almost"
    assert words in error["error"]["message"]
    assert error["error"]["code"] == "unavailable"
    assert_is_error(whole, 503, words, code="unavailable")


def test_one_choice_that_fails_ends_the_others() -> None:
    class OneFails(EndlessTextGenerator):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
            if prompt.parameters.seed == 6:
                yield TokenChunk("almost")
                raise BackendError("the backend is unreachable")
            async for chunk in super().generate(prompt):
                yield chunk

    backend = OneFails()
    with client_of(backend) as client:
        body = {"messages": HELLO["messages"], "n": 3, "seed": 5}
        assert_is_error(client.post(CHAT, json=body), 503, "unreachable", code="unavailable")
        assert backend.num_running == 0


def test_a_request_that_takes_too_long_is_a_504_and_the_next_is_served() -> None:
    backend = EndlessTextGenerator()
    with client_of(backend, LLM_REQUEST_TIMEOUT_S=0.05, LLM_MAX_CONCURRENT_REQUESTS=1) as client:
        for _ in range(2):
            response = client.post(CHAT, json={"messages": HELLO["messages"], "n": 2})
            assert_is_error(response, 504, "longer than 0.05 s", code="deadline_exceeded")
            assert response.headers["x-should-retry"] == "false"
    assert backend.num_running == 0


def test_more_requests_than_allowed_at_once_are_a_429() -> None:
    backend = EndlessTextGenerator()
    body = {"messages": HELLO["messages"]}
    with client_of(backend, LLM_REQUEST_TIMEOUT_S=1, LLM_MAX_CONCURRENT_REQUESTS=1) as client:
        first = threading.Thread(target=client.post, args=(CHAT,), kwargs={"json": body})
        first.start()
        while backend.num_running == 0:
            time.sleep(0.01)
        response = client.post(CHAT, json=body)
        first.join()

    assert_is_error(response, 429, "already running", code="overloaded")
    assert response.headers["retry-after"] == "1"
