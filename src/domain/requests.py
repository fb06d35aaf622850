"""What a caller may ask: the payload of an Infernet Node, and the request of an LLM workflow inside it."""

import re
from enum import IntEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from domain.errors import FieldProblem, InvalidRequestError, NotSupportedError
from domain.generation import SamplingParameters

HEX_PATTERN = r"^(0[xX])?[a-fA-F0-9]*$"

HexStr = Annotated[str, StringConstraints(strip_whitespace=True, pattern=HEX_PATTERN)]
"""Bytes as hex digits, with or without 0x; an empty string is no bytes."""


class InfernetInputSource(IntEnum):
    """Where the input of a job comes from."""

    CHAIN = 0
    OFFCHAIN = 1


class JobLocation(IntEnum):
    """Where the output of a job goes."""

    ONCHAIN = 0
    OFFCHAIN = 1
    STREAM = 2


class InfernetInput(BaseModel):
    """The payload of ``POST /service_output``, as Infernet Nodes from 0.1 to 1.4 send it.

    Unknown fields are ignored, since nodes add some.
    """

    source: InfernetInputSource = Field(description="0: on chain, 1: off chain")
    data: HexStr | dict[str, Any] = Field(description="hex for on-chain input, an object for off-chain input")
    destination: JobLocation | None = Field(
        default=None, description="0: on chain, 1: off chain, 2: stream; absent from nodes before 1.0"
    )
    requires_proof: bool | None = Field(
        default=None, description="whether the consumer asks for a proof; absent from nodes before 1.0"
    )

    @field_validator("data", mode="plain", json_schema_input_type=HexStr | dict[str, Any])
    @classmethod
    def _hex_or_object(cls, data: Any) -> str | dict[str, Any]:
        # in place of the union's own validation, which reports each branch as a field of its own
        match data:
            case dict():
                return data
            case str() if re.fullmatch(HEX_PATTERN, stripped := data.strip()):
                return stripped
            case str():
                raise PydanticCustomError("hex", "a string here should be hex digits, with or without 0x")
            case _:
                raise PydanticCustomError("data_type", "should be a hex string or an object")

    def offchain_data(self) -> dict[str, Any]:
        """Return ``data`` of a request that asks for no more than off-chain input and output.

        Raises:
            NotSupportedError: the input comes from, or the output goes to, the chain.
            InvalidRequestError: ``data`` is not an object, or a stream is asked for.
        """
        if self.source is InfernetInputSource.CHAIN or self.destination is JobLocation.ONCHAIN:
            raise NotSupportedError(
                "on-chain input and output are not supported; supported: source 1 (off chain) with an object "
                "in data, and destination 1 (off chain) or none",
            )
        if self.destination is JobLocation.STREAM:
            raise InvalidRequestError(
                FieldProblem("destination", "streams are not offered; send 1 or leave it out")
            )
        if isinstance(self.data, str):
            raise InvalidRequestError(FieldProblem("data", "off-chain input must be an object"))
        return self.data


class LLMRequest(BaseModel):
    """The ``data`` of an off-chain request to a workflow that declares no request type of its own."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(description="the caller's key for the conversation; passed through, never logged")
    messageId: str = Field(description="the caller's id for this message")  # noqa: N815 - the wire name
    text: str = Field(description="the message to the model")
    history: list[dict[str, str] | None] = Field(
        description='earlier turns, oldest first: {"player": "…"} and {"bot": "…"}; nulls are skipped'
    )
    parameters: SamplingParameters | None = Field(
        default=None, description="how to sample; absent: the service's defaults"
    )
