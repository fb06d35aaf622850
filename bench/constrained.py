"""JSON by a schema: whether it is valid, how often it ends by itself, and what it costs.

The schemas are bounded: every value has a greatest length, so that an answer can end within its tokens. For
the throughput, as many prompts of the same kind are answered without a schema, each with as many tokens as
its counterpart took: answers of a schema are short and of different lengths, so that much of both loads is
reading prompts and refilling slots. They are other prompts, since a prompt that is asked again is not read
again. Tokens that a schema forces count, as they do in a caller's usage.

Usage: python -m bench.constrained [--rounds 4] [--requests 125] [--quick]
"""

import json
import statistics
from collections.abc import Sequence
from typing import Any

import jsonschema
import uvloop
from bench.chat_client import Answer, ChatClient
from bench.figures import paired_ratio, spread, verdict
from bench.load import figures_of, offer_each
from bench.options import round_options
from bench.prompt_sets import Conversation, conversations
from bench.targets import Server, service, started

NUM_CALLERS = 8
MAX_TOKENS = 256
FINISH_BAR = 0.99
RATE_BAR = 0.85

SHORT_TEXT = {"type": "string", "maxLength": 24}
SCHEMAS: tuple[dict[str, Any], ...] = tuple(
    {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    for properties in (
        {
            "action": {"enum": ["buy", "sell", "hold"]},
            "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
        },
        {
            "name": SHORT_TEXT,
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "is_member": {"type": "boolean"},
        },
        {
            "title": SHORT_TEXT,
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        },
        {
            "place": {
                "type": "object",
                "properties": {"city": SHORT_TEXT, "country": SHORT_TEXT},
                "required": ["city", "country"],
                "additionalProperties": False,
            },
            "rating": {"enum": [1, 2, 3, 4, 5]},
        },
    )
)


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return OpenAI's way to ask for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


async def ask_all(
    server: Server, asked: Sequence[Conversation], bodies: Sequence[dict[str, Any]]
) -> list[Answer]:
    """Return the answers to as many conversations as bodies."""
    client = ChatClient(server.base_url, server.model)
    return await offer_each(client, asked, bodies, NUM_CALLERS)


def warm_up(server: Server) -> None:
    """Let the server load what it loads once, with a schema of its own: the measured ones come unseen."""
    body = {"response_format": response_format({"type": "boolean"}), "max_tokens": MAX_TOKENS}
    uvloop.run(ask_all(server, conversations("short", NUM_CALLERS, "warm-up"), [body] * NUM_CALLERS))


def is_valid(answer: Answer, schema: dict[str, Any]) -> bool:
    """Tell whether an answer is JSON of its schema."""
    try:
        jsonschema.validate(json.loads(answer.text), schema)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


def main() -> None:
    """Print validity, the share that ended by itself, and the ratio of throughputs."""
    options = round_options(__doc__, requests=125)
    num_requests = 16 if options.quick else options.requests
    rates: dict[str, list[float]] = {"constrained": [], "free": []}
    prompt_tokens: dict[str, list[int]] = {"constrained": [], "free": []}

    def measure(kind: str, number: int, bodies: Sequence[dict[str, Any]]) -> list[Answer]:
        answers = uvloop.run(ask_all(server, conversations("short", len(bodies), f"{kind} {number}"), bodies))
        rates[kind].append(figures_of(answers, 0).tokens_per_s)
        prompt_tokens[kind] += [answer.num_prompt_tokens for answer in answers]
        return answers

    schemas = [SCHEMAS[index % len(SCHEMAS)] for index in range(num_requests)]
    bodies = [{"response_format": response_format(schema), "max_tokens": MAX_TOKENS} for schema in schemas]
    num_finished = num_invalid = num_errors = 0
    with started(service()) as server:
        warm_up(server)
        for number in range(options.rounds):
            answers = measure("constrained", number, bodies)
            for answer, schema in zip(answers, schemas, strict=True):
                num_errors += answer.error is not None
                num_finished += answer.finish_reason == "stop"
                num_invalid += answer.finish_reason == "stop" and not is_valid(answer, schema)
            lengths = [answer.num_completion_tokens or MAX_TOKENS for answer in answers]
            measure("free", number, [{"max_tokens": length, "ignore_eos": True} for length in lengths])
    num_asked = options.rounds * num_requests
    print(
        f"{num_asked} requests: {num_errors} errors, {num_invalid} invalid of those that ended by "
        f"themselves, which were {verdict(num_finished / num_asked, FINISH_BAR)}"
    )
    ratio = paired_ratio(rates["constrained"], rates["free"])
    print(
        f"{NUM_CALLERS} callers: {spread(rates['constrained']).shown()} tok/s, unconstrained "
        f"{spread(rates['free']).shown()}, ratio {ratio.shown(2)} {verdict(ratio.median, RATE_BAR)}; "
        f"prompts of {statistics.mean(prompt_tokens['constrained']):.1f} and "
        f"{statistics.mean(prompt_tokens['free']):.1f} tokens"
    )


if __name__ == "__main__":
    main()
