"""What goes on chain: the five byte strings that a node delivers, and how a workflow declares them.

A released node wraps what it gets: ``input = abi.encode(bytes,bytes)(raw_input, processed_input)`` and
``output = abi.encode(bytes,bytes)(raw_output, processed_output)``. So there are two layouts: one for
consumers that unwrap, one for consumers that were written as if nobody wrapped.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True, slots=True)
class ChainReply:
    """A reply to a contract; bytes that are not there are empty."""

    raw_input: bytes
    raw_output: bytes
    processed_input: bytes = b""
    processed_output: bytes = b""
    proof: bytes = b""

    def fields(self) -> dict[str, str]:
        """Return the five fields as a node takes them: hex without 0x, which it would never deliver."""
        return {
            "raw_input": self.raw_input.hex(),
            "processed_input": self.processed_input.hex(),
            "raw_output": self.raw_output.hex(),
            "processed_output": self.processed_output.hex(),
            "proof": self.proof.hex(),
        }


class ChainLayout(StrEnum):
    """Where a codec puts what it writes."""

    EXACT = "exact"
    """``raw_output`` holds the consumer's own tuple, for a consumer that decodes ``(bytes,bytes)`` first."""
    WRAPPED = "wrapped"
    """The node's wrapping itself reads as the consumer's tuple."""


class ChainFormat(BaseModel):
    """How a workflow talks to contracts: a codec and its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str = Field(
        default="text",
        description="text, messages, tensor, agent_reply, summarizer, abi, or the path of a class",
    )
    layout: ChainLayout = Field(default=ChainLayout.EXACT, description="exact or wrapped")
    input: str | None = Field(
        default=None, description="codec abi: types of the input, with names, e.g. (string text)"
    )
    output: str | None = Field(
        default=None, description="codec abi: types of the output, with names, e.g. (string label)"
    )
    dtype: str | None = Field(
        default=None,
        description="codec tensor: type of what is written, e.g. float32; default: by the values",
    )
    decimals: int | None = Field(
        default=None, description="codec tensor: write reals in fixed point of so many decimals"
    )
