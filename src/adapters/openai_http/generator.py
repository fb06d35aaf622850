"""``OpenAITextGenerator``: the ports over OpenAI's completions, streamed, and its embeddings.

The service starts whether or not the server is there; it is not ready until the server answers. A request
that fails before its first byte is tried again by the client library; one that broke off later is an error,
never a short answer.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import httpx2
from openai import AsyncAPIResponse, AsyncOpenAI, OpenAIError

from adapters.openai_http.errors import translated
from adapters.openai_http.wire_answer import ErrorEventError, token_chunks
from adapters.openai_http.wire_request import WireRequest, wire_request
from domain.errors import BackendError, UnavailableError
from domain.generation import Capability, Embedding, ModelDescription, TokenChunk, Usage
from domain.messages import Prompt

NO_API_KEY = "none"
"""Sent where no key is set: the library wants one, servers without authentication ignore it."""

OFFERED = frozenset({Capability.LOGPROBS, Capability.CONSTRAINTS, Capability.TEXT_PROMPTS})
"""Left to the server: one that cannot do it refuses the request, or should."""


class OpenAITextGenerator:
    """A model behind an OpenAI-compatible server.

    Args:
        base_url: of the API, e.g. ``http://localhost:8000/v1``.
        api_key: None where the server asks for none.
        model: its name there; None: the first that the server lists.
        embedding_model: the name there of the model that embeds; None: no embeddings are offered.
        connect_timeout_s: to reach the server.
        read_timeout_s: between two pieces of an answer, and before the first.
        max_retries: of a request that failed before its first byte.
        headers: of each request, beside the library's.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        embedding_model: str | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
        max_retries: int = 2,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._headers = headers
        self._base_url = base_url
        self._api_key = api_key
        self._model_id = model
        self._embedding_model = embedding_model
        self._timeout = httpx2.Timeout(read_timeout_s, connect=connect_timeout_s)
        self._max_retries = max_retries
        self._client: AsyncOpenAI | None = None

    @property
    def model(self) -> ModelDescription:
        if self._model_id is None:
            return ModelDescription("unknown", fingerprint=None)
        return ModelDescription(self._model_id, fingerprint=repr((self._base_url, self._embedding_model)))

    @property
    def capabilities(self) -> frozenset[Capability]:
        has_embeddings = self._embedding_model is not None
        return OFFERED | ({Capability.EMBEDDINGS} if has_embeddings else frozenset())

    async def open(self) -> None:
        self._client = AsyncOpenAI(
            base_url=self._base_url,
            api_key=self._api_key or NO_API_KEY,
            timeout=self._timeout,
            max_retries=self._max_retries,
        )

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def ping(self) -> None:
        try:
            models = await self._connected().with_options(max_retries=0).models.list()
        except (OpenAIError, httpx2.HTTPError) as error:
            raise translated(error) from error
        if self._model_id is None:
            if not models.data:
                raise BackendError("the backend serves no model")
            self._model_id = models.data[0].id

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        if self._model_id is None:
            await self.ping()
        request = wire_request(prompt, str(self._model_id))
        try:
            async with (
                self._streamed(request) as response,
                aclosing(token_chunks(response.iter_bytes())) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
        except (OpenAIError, httpx2.HTTPError, ErrorEventError) as error:
            raise translated(error) from error

    async def embed(self, text: str) -> Embedding:
        try:
            answer = await self._connected().embeddings.create(
                model=str(self._embedding_model),
                input=text,
                encoding_format="float",
                extra_headers=self._headers(),
            )
            vector = tuple(answer.data[0].embedding)
            num_tokens = answer.usage.prompt_tokens
        except (OpenAIError, httpx2.HTTPError) as error:
            raise translated(error) from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise BackendError("the backend sent what is no embedding") from error
        return Embedding(vector, Usage(num_tokens, 0))

    def _streamed(self, request: WireRequest) -> AbstractAsyncContextManager[AsyncAPIResponse[Any]]:
        client, body, headers = self._connected(), request.body, self._headers()
        model: str = body["model"]
        if not request.is_chat:
            create = client.completions.with_streaming_response.create
            return create(
                model=model, prompt=body["prompt"], stream=True, extra_body=body, extra_headers=headers
            )
        chat = client.chat.completions.with_streaming_response.create
        return chat(
            model=model, messages=body["messages"], stream=True, extra_body=body, extra_headers=headers
        )

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            raise UnavailableError("the connection to the backend is closed")
        return self._client
