"""An answer as server-sent events: a chunk an event, the usage where it is asked for, and ``[DONE]``.

What fails after the first event is an event of its own, ``{"error": …}``, and the last one.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from domain.choices import ChoiceChunk
from domain.errors import ServiceError
from domain.generation import FinishReason, Usage
from domain.reply_stream import ReplyStream
from entrypoints.http.errors import FAILED, error_content_for, log_failure, status_for
from entrypoints.http.openai_api.answer_forms import AnswerForm, total_usage, usage_content

DONE = b"data: [DONE]\n\n"
NO_BUFFERING = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(StreamingResponse):
    """The response of a stream whose first chunk is there.

    Args:
        stream: closed when the response is over, however it ends.
        form: how chunks look.
        num_choices: answers to each prompt.
        includes_usage: whether the last chunk tells the usage.
        on_end: told the usage and the first answer's reason, when all answers ended well.
        on_close: told what was used, however it ends: of an answer that broke off, a token for each piece.
        headers: of the response.
    """

    def __init__(
        self,
        stream: ReplyStream[ChoiceChunk],
        form: AnswerForm,
        *,
        num_choices: int,
        includes_usage: bool,
        on_end: Callable[[Usage, FinishReason | None], None],
        on_close: Callable[[Usage], None],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(self._events(), headers={**headers, **NO_BUFFERING}, media_type="text/event-stream")
        self._stream = stream
        self._form = form
        self._num_choices = num_choices
        self._includes_usage = includes_usage
        self._on_end = on_end
        self._on_close = on_close
        self._usages: dict[int, Usage] = {}
        self._num_pieces: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the end, or until the caller has gone."""
        self._scope = scope
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()
            self._on_close(self._used())

    async def _events(self) -> AsyncIterator[bytes]:
        usages = self._usages
        finish_reasons: dict[int, FinishReason] = {}
        try:
            opened: set[int] = set()
            async for piece in self._stream:
                events = b"" if piece.index in opened else self._opening(piece.index)
                opened.add(piece.index)
                self._num_pieces[piece.index] += 1
                chunk = piece.chunk
                if chunk.text or chunk.logprobs or chunk.finish_reason is not None:
                    events += self._event(self._form.piece(piece))
                if chunk.finish_reason is not None and chunk.usage is not None:
                    finish_reasons[piece.index] = chunk.finish_reason
                    usages[piece.index] = chunk.usage
                if events:
                    yield events
        except Exception as error:  # noqa: BLE001 - the status is sent: only an event can tell
            yield self._failure(error)
            return
        usage = total_usage(usages, self._num_choices)
        self._on_end(usage, finish_reasons.get(0))
        if self._includes_usage:
            yield _event(self._form.chunk([], usage=usage_content(usage)))
        yield DONE

    def _used(self) -> Usage:
        broken_off = sum(n for index, n in self._num_pieces.items() if index not in self._usages)
        return total_usage(self._usages, self._num_choices) + Usage(0, broken_off)

    def _opening(self, index: int) -> bytes:
        opening = self._form.opening(index)
        return b"" if opening is None else self._event(opening)

    def _event(self, choice: dict[str, object]) -> bytes:
        return _event(self._form.chunk([choice], **({"usage": None} if self._includes_usage else {})))

    def _failure(self, error: Exception) -> bytes:
        log_failure(error)
        self._scope["state"]["log_facts"]["error"] = type(error).__name__
        known = error if isinstance(error, ServiceError) else None
        status = HTTPStatus.INTERNAL_SERVER_ERROR if known is None else status_for(self._scope, known)
        message = FAILED if known is None else str(error)
        return _event(json.dumps(error_content_for(self._scope, status, message, known)))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
