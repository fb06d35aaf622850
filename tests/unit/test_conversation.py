"""From the seed's history to chat messages."""

import pytest

from domain.conversation import conversation_of
from domain.messages import ChatMessage
from domain.requests import LLMRequest


def request(history: list[dict[str, str] | None]) -> LLMRequest:
    return LLMRequest(key="k", messageId="m", text="now", history=history)


def test_an_empty_history_leaves_the_text() -> None:
    assert conversation_of(request([])) == [ChatMessage("user", "now")]


def test_turns_keep_their_order_and_nulls_are_skipped() -> None:
    history = [{"player": "a"}, None, {"bot": "b"}, {"bot": "c", "player": "d"}, {}]

    messages = conversation_of(request(history))

    assert [(message.role, message.content) for message in messages] == [
        ("user", "a"),
        ("assistant", "b"),
        ("assistant", "c"),
        ("user", "d"),
        ("user", "now"),
    ]


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("bot", "assistant"),
        ("assistant", "assistant"),
        ("system", "system"),
        ("user", "user"),
        ("alice", "user"),
    ],
)
def test_each_speaker_has_a_role(speaker: str, role: str) -> None:
    assert conversation_of(request([{speaker: "x"}]))[0].role == role


def test_a_system_prompt_comes_first() -> None:
    assert conversation_of(request([{"bot": "b"}]), "be brief")[0] == ChatMessage("system", "be brief")
