"""An answer as server-sent events: a chunk an event, the usage where it is asked for, and ``[DONE]``.

What fails after the first event is an event of its own, ``{"error": …}``, and the last one.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from domain.choices import ChoiceChunk
from domain.errors import ServiceError
from domain.generation import FinishReason, Usage
from domain.reply_stream import ReplyStream
from entrypoints.http.errors import FAILED, error_content_for, log_failure, status_for
from entrypoints.http.openai_api.answer_forms import AnswerForm, total_usage, usage_content
from entrypoints.http.streaming import PieceResponse

DONE = b"data: [DONE]\n\n"
NO_BUFFERING = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStream(PieceResponse[ChoiceChunk]):
    """The response of a stream whose first chunk is there.

    Args:
        stream: closed when the response is over, however it ends.
        form: how chunks look.
        num_choices: answers to each prompt.
        includes_usage: whether the last chunk tells the usage.
        on_piece: told each piece of an answer.
        on_end: told the usage and the first answer's reason, when all answers ended well.
        on_close: called when it is over, however it ends.
        headers: of the response.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: ReplyStream[ChoiceChunk],
        form: AnswerForm,
        *,
        num_choices: int,
        includes_usage: bool,
        on_piece: Callable[[ChoiceChunk], None],
        on_end: Callable[[Usage, FinishReason | None], None],
        on_close: Callable[[], None],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(stream, {**headers, **NO_BUFFERING})
        self._form = form
        self._num_choices = num_choices
        self._includes_usage = includes_usage
        self._on_piece = on_piece
        self._on_end = on_end
        self._on_close = on_close
        self._usages: dict[int, Usage] = {}
        self._finish_reasons: dict[int, FinishReason] = {}
        self._opened: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the end, or until the caller has gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_close()

    def encoded(self, piece: ChoiceChunk) -> bytes:
        index, chunk = piece.index, piece.chunk
        self._on_piece(piece)
        events = b"" if index in self._opened else self._opening(index)
        self._opened.add(index)
        if chunk.text or chunk.logprobs or chunk.finish_reason is not None:
            events += self._event(self._form.piece(piece))
        if chunk.finish_reason is not None and chunk.usage is not None:
            self._finish_reasons[index] = chunk.finish_reason
            self._usages[index] = chunk.usage
        return events

    def ending(self) -> bytes:
        usage = total_usage(self._usages, self._num_choices)
        self._on_end(usage, self._finish_reasons.get(0))
        if not self._includes_usage:
            return DONE
        return _event(self._form.chunk([], usage=usage_content(usage))) + DONE

    def failure(self, scope: Scope, error: Exception) -> bytes:
        log_failure(error)
        scope["state"]["log_facts"]["error"] = type(error).__name__
        known = error if isinstance(error, ServiceError) else None
        status = HTTPStatus.INTERNAL_SERVER_ERROR if known is None else status_for(scope, known)
        message = FAILED if known is None else str(error)
        return _event(json.dumps(error_content_for(scope, status, message, known)))

    def _opening(self, index: int) -> bytes:
        opening = self._form.opening(index)
        return b"" if opening is None else self._event(opening)

    def _event(self, choice: dict[str, object]) -> bytes:
        return _event(self._form.chunk([choice], **({"usage": None} if self._includes_usage else {})))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()
