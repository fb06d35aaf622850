"""JSON by a schema: whether it is valid, how often it ends by itself, and what it costs.

The schemas are bounded: every value has a greatest length, so that an answer can end within its tokens. The
same prompts are answered without a schema too, with as many tokens, for the throughput.

Usage: python -m bench.constrained [--rounds 4] [--requests 125] [--quick]
"""

import json
import math
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
) -> tuple[list[Answer], float]:
    """Return the answers, and completion tokens a second."""
    client = ChatClient(server.base_url, server.model)
    answers = await offer_each(client, asked, bodies, NUM_CALLERS)
    await client.close()
    return answers, figures_of(answers, 0).tokens_per_s


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
    num_finished = num_invalid = num_errors = 0
    with started(service()) as server:
        for number in range(options.rounds):
            asked = conversations("short", num_requests, f"constrained {number}")
            schemas = [SCHEMAS[index % len(SCHEMAS)] for index in range(num_requests)]
            bodies = [
                {"response_format": response_format(schema), "max_tokens": MAX_TOKENS} for schema in schemas
            ]
            answers, rate = uvloop.run(ask_all(server, asked, bodies))
            rates["constrained"].append(rate)
            for answer, schema in zip(answers, schemas, strict=True):
                num_errors += answer.error is not None
                num_finished += answer.finish_reason == "stop"
                num_invalid += answer.finish_reason == "stop" and not is_valid(answer, schema)
            num_tokens = math.ceil(statistics.mean(a.num_completion_tokens for a in answers))
            free = [{"max_tokens": num_tokens, "ignore_eos": True}] * num_requests
            rates["free"].append(uvloop.run(ask_all(server, asked, free))[1])
    num_asked = options.rounds * num_requests
    print(
        f"{num_asked} requests: {num_errors} errors, {num_invalid} invalid of those that ended by "
        f"themselves, which were {verdict(num_finished / num_asked, FINISH_BAR)}"
    )
    ratio = paired_ratio(rates["constrained"], rates["free"])
    print(
        f"{NUM_CALLERS} callers: {spread(rates['constrained']).shown()} tok/s, unconstrained "
        f"{spread(rates['free']).shown()}, ratio {ratio.shown(2)} {verdict(ratio.median, RATE_BAR)}"
    )


if __name__ == "__main__":
    main()
