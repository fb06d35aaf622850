"""``OpenAITextGenerator``: the ports over OpenAI's chat completions, streamed, and its embeddings.

The service starts whether or not the server is there; it is not ready until the server answers. A request
that fails before its first byte is tried again by the client library; one that broke off later is an error,
never a short answer.
"""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
from openai import AsyncOpenAI, AsyncStream, OpenAIError
from openai.types.chat import ChatCompletionChunk

from adapters.openai_http.errors import translated
from domain.errors import BackendError, UnavailableError
from domain.generation import (
    Capability,
    Embedding,
    FinishReason,
    ModelDescription,
    SamplingParameters,
    TokenChunk,
    Usage,
)
from domain.messages import Prompt

NO_API_KEY = "none"
"""Sent where no key is set: the library wants one, servers without authentication ignore it."""

FINISH_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


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
    ) -> None:
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
        return frozenset() if self._embedding_model is None else frozenset({Capability.EMBEDDINGS})

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
        stream = await self._started(prompt)
        finish_reason: FinishReason | None = None
        usage: Usage | None = None
        num_chunks = 0
        try:
            async for chunk in stream:
                if chunk.usage is not None:
                    usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                for choice in chunk.choices:
                    if choice.delta.content:
                        num_chunks += 1
                        yield TokenChunk(choice.delta.content)
                    if choice.finish_reason is not None:
                        finish_reason = FINISH_REASONS.get(choice.finish_reason, FinishReason.STOP)
        except (OpenAIError, httpx2.HTTPError, ValueError) as error:  # ValueError: an event that is not JSON
            raise translated(error) from error
        finally:
            await stream.close()
        if finish_reason is None:
            raise BackendError("the backend broke off before the end of the answer")
        # a server that reports no usage sends a token a chunk, as far as known
        yield TokenChunk("", finish_reason, usage or Usage(0, num_chunks))

    async def embed(self, text: str) -> Embedding:
        try:
            answer = await self._connected().embeddings.create(
                model=str(self._embedding_model), input=text, encoding_format="float"
            )
            vector = tuple(answer.data[0].embedding)
            num_tokens = answer.usage.prompt_tokens
        except (OpenAIError, httpx2.HTTPError) as error:
            raise translated(error) from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise BackendError("the backend sent what is no embedding") from error
        return Embedding(vector, Usage(num_tokens, 0))

    async def _started(self, prompt: Prompt) -> AsyncStream[ChatCompletionChunk]:
        messages: Any = [{"role": m.role, "content": m.content} for m in prompt.messages]
        try:
            return await self._connected().chat.completions.create(
                model=str(self._model_id),
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=_sampling(prompt.parameters),
            )
        except (OpenAIError, httpx2.HTTPError) as error:
            raise translated(error) from error

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            raise UnavailableError("the connection to the backend is closed")
        return self._client


def _sampling(parameters: SamplingParameters) -> dict[str, Any]:
    """Return the request's sampling fields; those that are off are left out.

    ``top_k``, ``min_p`` and ``repetition_penalty`` are not OpenAI's, but vLLM, TGI and others know them;
    llama.cpp calls the last one ``repeat_penalty``.
    """
    optional: tuple[tuple[str, Any, Any], ...] = (
        ("max_tokens", parameters.max_tokens, None),
        ("seed", parameters.seed, None),
        ("stop", list(parameters.stop), []),
        ("top_k", parameters.top_k, 0),
        ("min_p", parameters.min_p, 0.0),
        ("repetition_penalty", parameters.repetition_penalty, 1.0),
        ("repeat_penalty", parameters.repetition_penalty, 1.0),
    )
    return {
        "temperature": parameters.temperature,
        "top_p": parameters.top_p,
        **{name: value for name, value, off in optional if value != off},
    }
