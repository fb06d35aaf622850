"""What codecs take from a workflow's reply."""

from typing import Any

from domain.errors import EncodingError


def field_of(reply: Any, name: str) -> Any:
    """Return a field of a reply. Raises ``EncodingError`` where there is none."""
    if not isinstance(reply, dict) or name not in reply:
        raise EncodingError(f"the workflow's reply lacks the field {name}, which its codec writes")
    return reply[name]


def proof_of(reply: Any) -> bytes:
    """Return the ``verifyProof`` calldata in a reply; nothing where there is none."""
    match reply:
        case {"proof": {"calldata": {"verifyProof": str(calldata)}}}:
            return bytes.fromhex(calldata.removeprefix("0x"))
        case _:
            return b""
