"""From the seed's ``history`` to chat messages."""

from domain.messages import ChatMessage, Role
from domain.requests import LLMRequest

SPEAKER_ROLES: dict[str, Role] = {
    "bot": "assistant",
    "assistant": "assistant",
    "player": "user",
    "user": "user",
    "system": "system",
}
"""The role of each speaker that a turn may name; any other speaker is one of the users."""


def conversation_of(request: LLMRequest, system_prompt: str | None = None) -> list[ChatMessage]:
    """Return the request's history, oldest first, and its text as the last user message.

    A turn may hold several speakers; they speak in the order given. Nulls are skipped.
    ``system_prompt`` opens the conversation when it is given.
    """
    messages = [ChatMessage("system", system_prompt)] if system_prompt else []
    for turn in request.history:
        for speaker, content in (turn or {}).items():
            messages.append(ChatMessage(SPEAKER_ROLES.get(speaker, "user"), content))
    messages.append(ChatMessage("user", request.text))
    return messages
