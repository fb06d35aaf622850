"""What Schemathesis cannot know of our formats; loaded by it, in its own environment."""

import uuid
from typing import Any

import schemathesis
from hypothesis import strategies as st

KEY = "Idempotency-Key"
STREAM = 2


def abi_string(text: str) -> str:
    """Return the contract ABI encoding of one string, as hex digits."""
    data = text.encode()
    words = (32).to_bytes(32, "big") + len(data).to_bytes(32, "big") + data + bytes(-len(data) % 32)
    return f"0x{words.hex()}"


schemathesis.openapi.format("abi-hex", st.text(max_size=40).map(abi_string))
schemathesis.openapi.format("llguidance-regex", st.sampled_from(["[a-z]+", "yes|no", "[0-9]{3}"]))
schemathesis.openapi.format("lark", st.sampled_from(['start: "a"', 'start: "yes" | "no"']))
schemathesis.openapi.format("json", st.sampled_from(['{"type": "string"}', '{"enum": ["yes", "no"]}']))


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each request a key of its own, and a stream none: what the document cannot say of keys."""
    if case.headers and isinstance(case.body, dict) and case.body.get("destination") == STREAM:
        case.headers.pop(KEY, None)
    elif case.headers and 0 < len(case.headers.get(KEY, "")) <= 255:
        case.headers[KEY] = uuid.uuid4().hex
