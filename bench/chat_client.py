"""One caller of an OpenAI-compatible chat API: asks, and notes when each piece of the answer came.

While an answer streams, pieces are only stamped; they are parsed when the last one is there, so that the
load generator takes little of the processors that it shares with the server.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx2
from bench.prompt_sets import Conversation

DATA = b"data:"
DONE = b"[DONE]"


@dataclass(slots=True)
class Answer:
    """What became of a request; times are of one monotonic clock."""

    started_s: float
    ended_s: float = 0.0
    piece_times_s: list[float] = field(default_factory=list)
    """When each piece of text arrived; each token, where log probabilities were asked for."""
    text: str = ""
    finish_reason: str | None = None
    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    error: str | None = None

    @property
    def first_token_s(self) -> float:
        """Seconds from the request to the first piece of text."""
        return self.piece_times_s[0] - self.started_s

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between pieces of text."""
        return [
            after - before for before, after in zip(self.piece_times_s, self.piece_times_s[1:], strict=False)
        ]


class ChatClient:
    """Asks one server.

    Args:
        base_url: with ``/v1``.
        model: its name there.
        api_key: sent as a bearer token.
        timeout_s: for the next byte.
    """

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None = None, timeout_s: float = 300
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx2.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout_s, limits=limits
        )
        self._model = model

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, messages: Conversation, **fields: Any) -> Answer:
        """Stream an answer, greedily; ``fields`` are the body's others.

        What the server or the connection fails with stands in ``Answer.error``.
        """
        body = {
            "model": self._model,
            "messages": messages,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **fields,
        }
        answer = Answer(time.perf_counter())
        received: list[tuple[float, bytes]] = []
        try:
            async with self._client.stream("POST", "chat/completions", json=body) as response:
                received = [(time.perf_counter(), piece) async for piece in response.aiter_bytes()]
                if response.status_code != 200:
                    answer.error = f"status {response.status_code}"
        except httpx2.HTTPError as error:
            answer.error = type(error).__name__
        answer.ended_s = time.perf_counter()
        if answer.error is None:
            read_events(answer, received)
        return answer


def read_events(answer: Answer, received: list[tuple[float, bytes]]) -> None:
    """Fill an answer from the pieces of an event stream; an event counts from its last byte on."""
    pending = b""
    texts: list[str] = []
    for time_s, piece in received:
        *lines, pending = (pending + piece).split(b"\n")
        texts += [
            _read_event(answer, json.loads(data), time_s)
            for line in lines
            if line.startswith(DATA) and (data := line.removeprefix(DATA).strip()) != DONE
        ]
    answer.text = "".join(texts)
    if answer.error is None and not answer.piece_times_s:
        answer.error = "an answer without text"


def _read_event(answer: Answer, event: dict[str, Any], time_s: float) -> str:
    if "error" in event:
        answer.error = "an error within the stream"
        return ""
    if usage := event.get("usage"):
        answer.num_prompt_tokens = usage["prompt_tokens"]
        answer.num_completion_tokens = usage["completion_tokens"]
    text = ""
    has_token = False
    for choice in event.get("choices", ()):
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        text += choice.get("delta", {}).get("content") or ""
        # a part of a character is a token without text, which log probabilities tell of
        has_token = has_token or bool((choice.get("logprobs") or {}).get("content"))
    if text or has_token:
        answer.piece_times_s.append(time_s)
    return text
