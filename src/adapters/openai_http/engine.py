"""``EngineTextGenerator``: the ports over the service's own engine process, on a Unix socket.

The engine speaks OpenAI's API, and beside it what OpenAI's has no words for: the description of its model
and label scores. An engine that is gone is being started again by the launcher: calls fail with
``BackendError`` until it is back.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pydantic_core

from adapters.openai_http.engine_errors import engine_error, gone
from adapters.openai_http.wire_answer import ErrorEventError, token_chunks, usage_of
from adapters.openai_http.wire_request import wire_request
from domain.errors import (
    BackendError,
    ConfigurationError,
    ContextLengthError,
    FieldProblem,
    InvalidRequestError,
    UnavailableError,
)
from domain.generation import Capability, Embedding, LabelScores, ModelDescription, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt

PING_TIMEOUT_S = 5.0
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
"""Of connections: as many as there are requests; few are kept when a burst is over."""
START_TIMEOUT_S = 60.0
"""For an engine that is being started again while this process starts."""
START_POLL_S = 0.1
JSON = {"Content-Type": "application/json"}


class EngineTextGenerator:
    """The model of the engine process.

    Args:
        socket: the engine's Unix socket.
        start_timeout_s: how long ``open`` waits for an engine that is not there.
        will_never_start: tells whether that is in vain.
        headers: of each request, by which the engine knows what it belongs to.
    """

    def __init__(
        self,
        socket: Path,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        will_never_start: Callable[[], bool] = lambda: False,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._headers = headers
        self._socket = socket
        self._will_never_start = will_never_start
        self._start_timeout_s = start_timeout_s
        self._client: httpx2.AsyncClient | None = None
        self._model = ModelDescription("unknown")
        self._capabilities: frozenset[Capability] = frozenset()

    @property
    def model(self) -> ModelDescription:
        return self._model

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    async def open(self) -> None:
        # no time limit of its own: each request has one, and leaves
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(self._socket), limits=LIMITS),
            base_url="http://engine",
            timeout=httpx2.Timeout(None, connect=PING_TIMEOUT_S),
        )
        description = await self._description()
        self._model = ModelDescription(**description["model"])
        self._capabilities = frozenset(Capability[name] for name in description["capabilities"])

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def ping(self) -> None:
        await self._answer("GET", "/health/ready", timeout_s=PING_TIMEOUT_S)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        request = wire_request(prompt, self._model.model_id)
        try:
            async with (
                self._response("POST", f"/v1{request.path}", request.body) as response,
                aclosing(token_chunks(_pieces_of(response))) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
        except ErrorEventError as error:
            raise engine_error(None, error.content) from error

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        body = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "labels": list(labels),
        }
        answer = await self._answer("POST", "/v1/label_scores", body)
        return LabelScores(answer["log_probabilities"], usage_of(answer["usage"]))

    async def embed(self, text: str) -> Embedding:
        try:
            answer = await self._answer("POST", "/v1/embeddings", {"input": [text]})
        except ContextLengthError:
            raise
        except InvalidRequestError as error:
            # the API names the text's place in its list
            raise InvalidRequestError(*(FieldProblem("", p.reason) for p in error.problems)) from error
        vector = tuple(answer["data"][0]["embedding"])
        return Embedding(vector, Usage(answer["usage"]["prompt_tokens"], 0))

    async def _description(self) -> Any:
        deadline_s = asyncio.get_running_loop().time() + self._start_timeout_s
        while True:
            try:
                return await self._answer("GET", "/v1/engine", timeout_s=PING_TIMEOUT_S)
            except UnavailableError:
                if self._will_never_start():
                    raise ConfigurationError("the engine cannot start") from None
                if asyncio.get_running_loop().time() > deadline_s:
                    raise
            await asyncio.sleep(START_POLL_S)

    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Any:
        try:
            async with asyncio.timeout(timeout_s), self._response(method, path, body) as response:
                return pydantic_core.from_json(await response.aread())
        except TimeoutError as error:
            raise gone() from error

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncIterator[httpx2.Response]:
        if self._client is None:
            raise UnavailableError("the connection to the engine is closed")
        content = None if body is None else json.dumps(body)
        try:
            headers = {**JSON, **self._headers()}
            async with self._client.stream(method, path, content=content, headers=headers) as response:
                if response.is_error:
                    raise await _error_of(response)
                yield response
        except httpx2.TransportError as error:
            raise gone() from error


def _pieces_of(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Return the body as it comes in: the engine encodes nothing, and to look for it takes time a token."""
    if not isinstance(response.stream, httpx2.AsyncByteStream):
        raise BackendError("the engine's answer is no stream")
    return aiter(response.stream)


async def _error_of(response: httpx2.Response) -> Exception:
    try:
        content = pydantic_core.from_json(await response.aread())
    except ValueError:
        return BackendError("the engine failed")
    return engine_error(response.status_code, content.get("error"), response.headers.get("retry-after", ""))
