"""What a caller may ask: the payload of an Infernet Node, and the request of an LLM workflow inside it."""

import re
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from domain.errors import FieldProblem, InvalidRequestError
from domain.generation import SamplingParameters

HEX_PATTERN = r"^(0[xX])?[a-fA-F0-9]*$"

ERROR_FIELDS = {"code", "name", "description"}
"""Of an error by a container's conventions; a node hands it on to the next container as if it were output."""

HexStr = Annotated[str, StringConstraints(strip_whitespace=True, pattern=HEX_PATTERN)]
"""Bytes as hex digits, with or without 0x; an empty string is no bytes."""

ONCHAIN_DATA_SCHEMA: dict[str, Any] = {
    "if": {"properties": {"source": {"const": 0}}},
    "then": {"properties": {"data": {"type": "string", "format": "abi-hex"}}},
}
"""Contract ABI encoding of what the workflow reads, as hex digits."""

Turn = Annotated[dict[str, str], Field(fail_fast=True)]

RequestData: TypeAlias = dict[str, Any] | list[Any] | str
"""What a request type validates: an object, or another container's whole output."""


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


NotBoolean = BeforeValidator(_not_boolean)
"""Python takes true for 1."""


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

    model_config = ConfigDict(json_schema_extra=ONCHAIN_DATA_SCHEMA)

    source: Annotated[InfernetInputSource, NotBoolean] = Field(description="0: on chain, 1: off chain")
    data: HexStr | dict[str, Any] | list[Any] | str = Field(
        description="hex for on-chain input, with or without 0x, empty for none; an object for off-chain "
        "input, or the whole output of another container that ran before this one"
    )
    destination: Annotated[JobLocation | None, NotBoolean] = Field(
        default=None, description="0: on chain, 1: off chain, 2: stream; absent from nodes before 1.0"
    )
    requires_proof: bool | None = Field(
        default=None, description="whether the consumer asks for a proof; absent from nodes before 1.0"
    )

    @field_validator("data", mode="plain", json_schema_input_type=HexStr | dict[str, Any] | list[Any] | str)
    @classmethod
    def _fits_source(cls, data: Any, info: ValidationInfo) -> RequestData:
        # in place of the union's own validation, which reports each branch as a field of its own
        is_onchain = info.data.get("source") is InfernetInputSource.CHAIN
        match data:
            case str() if is_onchain and re.fullmatch(HEX_PATTERN, stripped := data.strip()):
                return stripped
            case _ if is_onchain:
                raise PydanticCustomError("hex", "on-chain input should be hex digits, with or without 0x")
            case dict() if set(data) == ERROR_FIELDS and str(data["code"]) != "200":
                raise PydanticCustomError("chained_error", "is an error of the container before this one")
            case dict() | list() | str():
                return data
            case _:
                raise PydanticCustomError("data_type", "should be an object, or another container's output")

    @property
    def is_reply_for_chain(self) -> bool:
        """Whether the reply is delivered to a contract; a node before 1.0 says so by the source alone."""
        if self.destination is None:
            return self.source is InfernetInputSource.CHAIN
        return self.destination is JobLocation.ONCHAIN

    @property
    def is_proof_asked(self) -> bool:
        """Whether this container should attach a proof.

        A node asks each container of a chain for one. The first, whose input comes from the chain and whose
        output does not go there, delivers none; those in the middle look like off-chain jobs.
        """
        is_first_of_chain = (
            self.source is InfernetInputSource.CHAIN and self.destination is JobLocation.OFFCHAIN
        )
        return bool(self.requires_proof) and not is_first_of_chain

    @property
    def is_onchain(self) -> bool:
        """Whether the chain has any part in it."""
        return self.source is InfernetInputSource.CHAIN or self.is_reply_for_chain

    def onchain_data(self) -> bytes:
        """Return the bytes of on-chain input.

        Raises:
            InvalidRequestError: the number of hex digits is odd.
        """
        digits = str(self.data).removeprefix("0x").removeprefix("0X")
        if len(digits) % 2:
            raise InvalidRequestError(FieldProblem("data", f"{len(digits)} hex digits are no whole bytes"))
        return bytes.fromhex(digits)


def also(other: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return what adds another form to a model's JSON schema: one that its ``before`` validator takes."""

    def add(schema: dict[str, Any]) -> None:
        own = dict(schema)
        schema.clear()
        schema["anyOf"] = [own, other]

    return add


class LLMRequest(BaseModel):
    """The ``data`` of a request to a workflow that declares no request type of its own; a text will do."""

    model_config = ConfigDict(frozen=True, json_schema_extra=also({"type": "string"}))

    key: str = Field(description="the caller's key for the conversation; passed through, never logged")
    messageId: str = Field(description="the caller's id for this message")  # noqa: N815 - the wire name
    text: str = Field(description="the message to the model")
    history: Annotated[list[Turn | None], Field(fail_fast=True)] = Field(
        description='earlier turns, oldest first: {"player": "…"} and {"bot": "…"}; nulls are skipped'
    )
    parameters: SamplingParameters | None = Field(
        default=None, description="how to sample; absent: the service's defaults"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        """Take a text alone, as another container or a contract gives it, for a message of nobody's."""
        return {"key": "", "messageId": "", "text": data, "history": []} if isinstance(data, str) else data
