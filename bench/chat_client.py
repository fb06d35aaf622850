"""One caller of an OpenAI-compatible chat API: asks, and notes when each piece of the answer came.

While an answer streams, what comes from the socket is only stamped; it is parsed later, so that the load
generator takes little of the processors that it shares with the server. With an HTTP client's layers a piece
took it as long as the server.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11
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


@dataclass(slots=True)
class Reply:
    """What came from the server, as it came, and when each piece did."""

    started_s: float
    connection: h11.Connection
    """That the request was sent with."""
    received: list[tuple[float, bytes]] = field(default_factory=list)
    ended_s: float = 0.0
    error: str | None = None
    """What the connection failed with."""

    def answer(self) -> Answer:
        """Parse it, once."""
        answer = Answer(self.started_s, self.ended_s, error=self.error)
        if answer.error is None:
            try:
                read_events(answer, read_response(self.connection, self.received))
            except ResponseError as error:
                answer.error = str(error)
            except h11.RemoteProtocolError as error:
                answer.error = type(error).__name__
        return answer


class ChatClient:
    """Asks one server, over a connection a request.

    Args:
        base_url: with ``/v1``.
        model: its name there.
        api_key: sent as a bearer token.
        timeout_s: for a whole answer.
    """

    def __init__(
        self, base_url: str, model: str, *, api_key: str | None = None, timeout_s: float = 300
    ) -> None:
        self._url = urlsplit(f"{base_url}/chat/completions")
        self._headers = [
            ("host", self._url.netloc),
            ("content-type", "application/json"),
            ("connection", "close"),
            *([("authorization", f"Bearer {api_key}")] if api_key else []),
        ]
        self._model = model
        self._timeout_s = timeout_s

    async def ask(self, messages: Conversation, **fields: Any) -> Answer:
        """Stream an answer, greedily; ``fields`` are the body's others.

        What the server or the connection fails with stands in ``Answer.error``.
        """
        return (await self.exchange(messages, **fields)).answer()

    async def exchange(self, messages: Conversation, **fields: Any) -> Reply:
        """Do as ``ask`` does, and leave it to the caller when to parse what came."""
        body = {
            "model": self._model,
            "messages": messages,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **fields,
        }
        data = json.dumps(body).encode()
        request = h11.Request(
            method="POST", target=self._url.path, headers=[*self._headers, ("content-length", str(len(data)))]
        )
        connection = h11.Connection(h11.CLIENT)
        sent = (connection.send(request) or b"") + (connection.send(h11.Data(data)) or b"")
        connection.send(h11.EndOfMessage())
        reply = Reply(time.perf_counter(), connection)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._record(sent, reply.received)
        except (OSError, TimeoutError) as error:
            reply.error = type(error).__name__
        reply.ended_s = reply.received[-1][0] if reply.received else time.perf_counter()
        return reply

    async def _record(self, sent: bytes, received: list[tuple[float, bytes]]) -> None:
        """Send a request, fill ``received`` until the server closes; leave where this is cancelled."""
        recording, is_encrypted = _Recording(received), self._url.scheme == "https"
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: recording,
            self._url.hostname or "",
            self._url.port or (443 if is_encrypted else 80),
            ssl=True if is_encrypted else None,
        )
        try:
            transport.write(sent)
            await recording.is_closed.wait()
        finally:
            transport.close()


class _Recording(asyncio.Protocol):
    """Stamps what comes."""

    def __init__(self, received: list[tuple[float, bytes]]) -> None:
        self._received = received
        self.is_closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._received.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # an answer that was cut is told by its end
        self.is_closed.set()


class ResponseError(Exception):
    """A response that is no answer."""


def read_response(
    connection: h11.Connection, received: list[tuple[float, bytes]]
) -> list[tuple[float, bytes]]:
    """Return the pieces of a response's body from those of its connection, each with its time.

    Raises:
        ResponseError: its status is not 200, or it was cut.
        h11.RemoteProtocolError: it is not HTTP.
    """
    pieces: list[tuple[float, bytes]] = []
    for time_s, data in [*received, (0.0, b"")]:
        connection.receive_data(data)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            match event:
                case h11.Response(status_code=status) if status != 200:
                    raise ResponseError(f"status {status}")
                case h11.Data(data=piece):
                    pieces.append((time_s, bytes(piece)))
                case h11.EndOfMessage():
                    return pieces
                case h11.ConnectionClosed():
                    break
    raise ResponseError("the response was cut")


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
