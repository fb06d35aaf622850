"""What goes to another server, field by field, and what is made of its events."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from adapters.openai_http.generator import OpenAITextGenerator
from domain.constraints import OutputConstraint
from domain.errors import BackendError, DeadlineExceededError, NotSupportedError
from domain.generation import Capability, SamplingParameters, TokenChunk, TokenLogprob, Usage
from domain.messages import ChatMessage, Prompt
from tests.integration.test_openai_errors import answered_by
from tests.scripted_server import scripted_server, send

MESSAGES = [ChatMessage("user", "hi")]
EVENTS = [
    {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
]


def body_of(events: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events)


async def exchange(prompt: Prompt, events: list[Any]) -> tuple[dict[str, Any], list[TokenChunk]]:
    """Return what was asked of a server that answers with these events, and the chunks made of them."""
    seen: dict[str, Any] = {}

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        seen.update(json.loads(body), path=handler.path)
        send(handler, 200, body_of(events) + b"data: [DONE]\n\n", content_type="text/event-stream")

    with scripted_server(answer) as url:
        generator = OpenAITextGenerator(f"{url}/v1", model="m", max_retries=0)
        await generator.open()
        chunks = [chunk async for chunk in generator.generate(prompt)]
        await generator.close()
    return seen, chunks


async def test_every_parameter_is_passed_on_under_the_name_that_servers_know() -> None:
    parameters = SamplingParameters(
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

    seen, _ = await exchange(Prompt(MESSAGES, parameters, priority=-2), EVENTS)

    assert seen == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": -0.3,
        "seed": 11,
        "stop": ["a", "b"],
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 4,
        "priority": -2,
    }


SCHEMA = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        (
            {"json_schema": SCHEMA},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        ({"regex": "a+"}, {"structured_outputs": {"regex": "a+"}}),
        ({"choices": ["a", "b"]}, {"structured_outputs": {"choice": ["a", "b"]}}),
        ({"grammar": 'start: "a"'}, {"structured_outputs": {"grammar": 'start: "a"'}}),
    ],
)
async def test_a_constraint_is_asked_for(constraint: dict[str, Any], fields: dict[str, Any]) -> None:
    parameters = SamplingParameters(constraint=OutputConstraint(**constraint))

    seen, _ = await exchange(Prompt(MESSAGES, parameters), EVENTS)

    asked = {name: value for name, value in seen.items() if name in {"response_format", "structured_outputs"}}
    assert asked == fields


async def test_a_text_goes_to_completions_and_log_probabilities_come_back() -> None:
    logprobs = {
        "tokens": ["to", " be"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{" x": -2.5, "to": -0.5}, None],
        "text_offset": [0, 2],
    }
    events = [
        {"choices": [{"index": 0, "text": "to be", "logprobs": logprobs, "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]},
    ]

    seen, chunks = await exchange(Prompt((), SamplingParameters(top_logprobs=2), "hi"), events)

    assert seen["path"] == "/v1/completions"
    assert seen["prompt"] == "hi"
    assert seen["logprobs"] == 2
    assert "messages" not in seen
    to, x = TokenLogprob("to", b"to", -0.5), TokenLogprob(" x", b" x", -2.5)
    assert chunks[0].text == "to be"
    assert chunks[0].logprobs == (
        TokenLogprob("to", b"to", -0.5, (to, x)),
        TokenLogprob(" be", b" be", -1.5),
    )


async def test_log_probabilities_of_a_conversation_keep_their_bytes() -> None:
    part = {"token": "\ufffd", "bytes": [195], "logprob": -1.0, "top_logprobs": []}
    delta = {"index": 0, "delta": {"content": ""}, "logprobs": {"content": [part]}, "finish_reason": None}

    _, chunks = await exchange(Prompt(MESSAGES), [{"choices": [delta]}, *EVENTS])

    assert chunks[0] == TokenChunk("", logprobs=(TokenLogprob("\ufffd", b"\xc3", -1.0),))


async def test_cached_tokens_are_counted() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}

    _, chunks = await exchange(Prompt(MESSAGES), [EVENTS[0], {"choices": [], "usage": usage}])

    assert chunks[-1].usage == Usage(9, 1, 8)


async def test_line_separators_inside_of_a_text_break_no_event() -> None:
    text = "a\u2028b\x85c\x0bd"
    event = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}

    _, chunks = await exchange(Prompt(MESSAGES), [event, *EVENTS])

    assert chunks[0].text == text


@pytest.mark.parametrize(
    "event",
    [[], {"choices": [{}]}, {"choices": [{"text": 5}]}, {"choices": 7}, {"usage": {"prompt_tokens": "many"}}],
)
async def test_an_event_that_is_of_another_form_is_an_error(event: Any) -> None:
    with pytest.raises(BackendError, match="no answer"):
        await exchange(Prompt(MESSAGES), [event, *EVENTS])


async def test_what_a_server_does_not_offer_or_not_in_time_keeps_its_kind() -> None:
    with pytest.raises(NotSupportedError):
        await answered_by(lambda handler, _: send(handler, 501, b"{}"))
    with pytest.raises(DeadlineExceededError):
        await answered_by(lambda handler, _: send(handler, 504, b"{}"))
    with pytest.raises(BackendError) as loading:
        await answered_by(lambda handler, _: send(handler, 503, b"{}", headers={"Retry-After": "7"}))
    assert loading.value.retry_after_s == 7


def test_it_offers_what_is_left_to_the_server() -> None:
    capabilities = OpenAITextGenerator("http://x/v1").capabilities

    assert capabilities == {Capability.LOGPROBS, Capability.CONSTRAINTS, Capability.TEXT_PROMPTS}
