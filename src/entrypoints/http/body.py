"""Reads a request's JSON body."""

from typing import Any

import pydantic_core
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from domain.deadline import Deadline
from domain.errors import DeadlineExceededError, FieldProblem, InvalidRequestError

BODY_TIMEOUT_S = 30.0
"""Where no setting says."""


async def read_json_object(
    request: Request, *, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S
) -> dict[str, Any]:
    """Return the body, a JSON object.

    Raises:
        HTTPException: 415 when the content type is not JSON, 413 when the body is larger than ``max_bytes``,
            408 when it does not arrive within ``timeout_s``.
        InvalidRequestError: it is not JSON, or not an object.
    """
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise HTTPException(415, "the content type must be application/json")
    try:
        with Deadline(timeout_s):
            body = await _read(request, max_bytes)
    except DeadlineExceededError as error:
        raise HTTPException(408, f"the body did not arrive within {timeout_s:g} s") from error
    try:
        payload = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(FieldProblem("", f"the body is not JSON: {error}")) from error
    if not isinstance(payload, dict):
        raise InvalidRequestError(FieldProblem("", "the body must be a JSON object"))
    return payload


async def _read(request: Request, max_bytes: int) -> bytearray:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise HTTPException(413, f"the body is larger than {max_bytes} bytes")
        if not message.get("more_body", False):
            return body
