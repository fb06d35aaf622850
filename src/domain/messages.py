"""Chat messages, in the roles that chat templates know."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from domain.generation import SamplingParameters

BYTES_PER_TOKEN = 4
"""Of English, about."""

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a workflow asks of the model: the conversation, oldest message first, and how to sample."""

    messages: Sequence[ChatMessage]
    parameters: SamplingParameters = field(default_factory=SamplingParameters)
    text: str | None = None
    """Instead of messages: a text to go on with as it is, without the model's chat template."""
    priority: int = 0
    """Lower goes first where requests wait; as vLLM has it."""

    @property
    def estimated_tokens(self) -> int:
        """About how many tokens it has: nobody but the backend counts them."""
        texts = [message.content for message in self.messages] if self.text is None else [self.text]
        return -(-sum(len(text.encode(errors="replace")) for text in texts) // BYTES_PER_TOKEN)
