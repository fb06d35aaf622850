"""``/proofs/verify``: checks a proof that somebody brings."""

from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.errors import FieldProblem, InvalidRequestError, NotSupportedError
from domain.ports import ProofVerifier
from domain.proofs import verdict_reply
from domain.requests import HexStr
from domain.validation import validated
from entrypoints.http.body import read_json_object
from entrypoints.http.disconnect import unless_disconnected


class VerificationRequest(BaseModel):
    """What to check."""

    calldata: Annotated[HexStr, Field(min_length=8)] = Field(
        description="of verifyProof or verifyWithDataAttestation, in hex, with or without 0x"
    )

    def calldata_bytes(self) -> bytes:
        """Return the calldata.

        Raises:
            InvalidRequestError: the number of hex digits is odd.
        """
        digits = self.calldata.removeprefix("0x").removeprefix("0X")
        if len(digits) % 2:
            raise InvalidRequestError(
                FieldProblem("calldata", f"{len(digits)} hex digits are no whole bytes")
            )
        return bytes.fromhex(digits)


class ProofRoutes:
    """The endpoint, over the verifier of the circuit that is served."""

    def __init__(self, verifier: ProofVerifier | None, *, max_body_bytes: int, body_timeout_s: float) -> None:
        self._verifier = verifier
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s

    async def verify(self, request: Request) -> Response:
        """Tell whether the proof in calldata holds, and what it is about."""
        body = await read_json_object(request, max_bytes=self._max_body_bytes, timeout_s=self._body_timeout_s)
        asked = validated(VerificationRequest, body)
        calldata = asked.calldata_bytes()
        if self._verifier is None:
            raise NotSupportedError("no circuit is configured, whose proofs could be checked")
        verdict = await unless_disconnected(request, self._verifier.verify(calldata))
        return JSONResponse(verdict_reply(verdict))
