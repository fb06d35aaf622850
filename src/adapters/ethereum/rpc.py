"""JSON-RPC of a chain's node; ``eth_call`` runs a function on its current state, and changes nothing.

(https://ethereum.org/developers/docs/apis/json-rpc)
"""

from dataclasses import dataclass
from typing import Any

import httpx2

from domain.errors import BackendError

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """What a call returned, or that it reverted and with what data."""

    has_reverted: bool
    data: bytes


def call_contract(rpc_url: str, address: str, calldata: bytes) -> CallOutcome:
    """Call a contract.

    Args:
        rpc_url: of the node.
        address: the contract's, 20 bytes in hex with 0x.
        calldata: selector and arguments.

    Raises:
        BackendError: the node cannot be reached, or answered what is no answer.
    """
    match _answer(rpc_url, "eth_call", {"to": address, "data": f"0x{calldata.hex()}"}, "latest"):
        case {"result": str(result)}:
            return CallOutcome(has_reverted=False, data=_bytes(result))
        case {"error": {"data": str(data)}}:
            return CallOutcome(has_reverted=True, data=_bytes(data))
        case {"error": {"message": str(message)}} if "revert" in message:
            return CallOutcome(has_reverted=True, data=b"")
        case _:
            raise BackendError("the chain's node refused the call")


def ask(rpc_url: str, method: str, *parameters: Any) -> Any:
    """Return the result of a JSON-RPC method.

    Raises:
        BackendError: the node cannot be reached, or refused.
    """
    match _answer(rpc_url, method, *parameters):
        case {"result": result}:
            return result
        case {"error": {"message": str(message)}}:
            raise BackendError(f"the chain's node refused {method}: {message}")
        case _:
            raise BackendError(f"the chain's node refused {method}")


def _answer(rpc_url: str, method: str, *parameters: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    try:
        return httpx2.post(rpc_url, json=request, timeout=TIMEOUT_S).raise_for_status().json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise BackendError(f"the chain's node cannot be reached ({type(error).__name__})") from error


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise BackendError("the chain's node answered what is no hex") from error
