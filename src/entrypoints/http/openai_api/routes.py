"""What each path under ``/v1`` does."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from domain.choices import ChoicesMeter
from domain.direct_runner import DirectRunner
from domain.errors import ContextLengthError, InvalidRequestError, NotFoundError
from domain.generation import Embedding, FinishReason, ModelDescription, Usage
from domain.messages import Prompt
from domain.prompt_needs import refuse_long_answer
from domain.rate_limit import RateLimits
from domain.validation import validated
from entrypoints.http.bearer import owner_of
from entrypoints.http.body import BODY_TIMEOUT_S, read_json_object
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.openai_api.answer_forms import AnswerForm, ChatForm, CompletionForm, total_usage
from entrypoints.http.openai_api.chat_request import ChatRequest
from entrypoints.http.openai_api.completion_request import CompletionRequest
from entrypoints.http.openai_api.embeddings import EmbeddingsRequest, embeddings_body
from entrypoints.http.openai_api.event_stream import EventStream
from entrypoints.http.openai_api.sampling_fields import Fields
from entrypoints.http.reply_headers import model_headers
from entrypoints.service_resources import supports_model

OPENAI_COMPLETION_TOKENS = 16
"""What OpenAI's completions generate at most where a request does not say."""

FieldsT = TypeVar("FieldsT", bound=Fields)


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """Bounds that a request may leave to the service."""

    max_body_bytes: int
    chat_max_tokens: int | None
    """Of an answer where the request does not say; None: as many as the context has room for."""
    completion_max_tokens: int | None = OPENAI_COMPLETION_TOKENS
    body_timeout_s: float = BODY_TIMEOUT_S
    max_output_tokens: int | None = None
    """That a request may ask for of an answer; None: any number."""
    is_public: bool = True
    """Whether a refused field is named as in the request, and embeddings have length 1; the service's own
    workers take both as the backend gives them."""


class OpenAIRoutes:
    """The endpoints, over the model.

    Args:
        runner: has the model.
        options: see ``OpenAIOptions``.
        rate_limits: told what each caller used.
    """

    def __init__(
        self, runner: DirectRunner, options: OpenAIOptions, rate_limits: RateLimits | None = None
    ) -> None:
        self._runner = runner
        self._rate_limits = rate_limits or RateLimits({})
        self._options = options
        self._started_s = int(time.time())

    @property
    def routes(self) -> list[Route]:
        """Path by path."""
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model_id:path}", self.model, methods=["GET"]),
        ]

    async def models(self, _: Request) -> Response:
        """List the one model."""
        return JSONResponse(
            {"object": "list", "data": [self._model_content(await self._model_asked_for(None))]}
        )

    async def model(self, request: Request) -> Response:
        """Describe the model of this id."""
        return JSONResponse(self._model_content(await self._model_asked_for(request.path_params["model_id"])))

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = await self._read(request, ChatRequest)
        return await self._answer(request, asked, ChatForm)

    async def complete(self, request: Request) -> Response:
        """Go on with texts."""
        asked = await self._read(request, CompletionRequest)
        return await self._answer(request, asked, CompletionForm)

    async def embed(self, request: Request) -> Response:
        """Embed texts."""
        asked = await self._read(request, EmbeddingsRequest)
        model = await self._model_asked_for(asked.model)
        made: list[Embedding] = []
        try:
            embeddings = await unless_disconnected(request, self._runner.embed(asked.input, made.append))
        except InvalidRequestError as error:
            raise error.under("input") from error
        finally:
            usage = sum((embedding.usage for embedding in made), Usage())
            self._rate_limits.settle(owner_of(request), usage)
        request.state.log_facts["prompt_tokens"] = usage.num_prompt_tokens
        body = await asyncio.to_thread(
            embeddings_body,
            model.model_id,
            embeddings,
            asked.encoding_format,
            normalises=self._options.is_public,
        )
        return Response(body, headers=model_headers(model), media_type="application/json")

    async def _read(self, request: Request, fields: type[FieldsT]) -> FieldsT:
        options = self._options
        payload = await read_json_object(
            request, max_bytes=options.max_body_bytes, timeout_s=options.body_timeout_s
        )
        return validated(fields, payload)

    async def _answer(
        self, request: Request, asked: ChatRequest | CompletionRequest, form_of: type[AnswerForm]
    ) -> Response:
        model = await self._model_asked_for(asked.model)
        form = form_of(model.model_id)
        includes_usage = asked.includes_usage
        prompts = self._prompts(asked)
        headers = model_headers(model)
        started_s = time.monotonic()
        meter = ChoicesMeter(prompts, asked.num_choices)

        def settle() -> None:
            self._rate_limits.settle(owner_of(request), meter.usage)

        facts = request.state.log_facts

        def note_end(usage: Usage, finish_reason: FinishReason | None) -> None:
            facts["prompt_tokens"] = usage.num_prompt_tokens
            facts["cached_tokens"] = usage.num_cached_prompt_tokens
            facts["completion_tokens"] = usage.num_completion_tokens
            facts["finish_reason"] = finish_reason

        if not asked.stream:
            work = self._runner.generate(prompts, meter.note)
            try:
                with self._naming(asked):
                    choices = await unless_disconnected(request, work)
            finally:
                settle()
            usages = {index: choice.usage for index, choice in enumerate(choices)}
            usage = total_usage(usages, asked.num_choices)
            note_end(usage, choices[0].finish_reason)
            return JSONResponse(form.whole(choices, asked.num_choices), headers=headers)
        with self._naming(asked):
            stream = await unless_disconnected(request, self._runner.stream(prompts))
        facts["time_to_first_token_ms"] = round((time.monotonic() - started_s) * 1000, 1)
        return EventStream(
            stream,
            form,
            num_choices=asked.num_choices,
            includes_usage=includes_usage,
            on_piece=meter.note,
            on_end=note_end,
            on_close=settle,
            headers=headers,
        )

    def _prompts(self, asked: ChatRequest | CompletionRequest) -> list[Prompt]:
        options = self._options
        default = options.chat_max_tokens
        if isinstance(asked, CompletionRequest):
            default = options.completion_max_tokens
        else:
            refuse_long_answer(
                "max_completion_tokens", asked.max_completion_tokens, options.max_output_tokens
            )
        refuse_long_answer("max_tokens", asked.max_tokens, options.max_output_tokens)
        return asked.prompts(min(filter(None, (default, options.max_output_tokens)), default=None))

    @contextmanager
    def _naming(self, asked: ChatRequest | CompletionRequest) -> Iterator[None]:
        """Name a field that is refused as the caller does."""
        try:
            yield
        except InvalidRequestError as error:
            if not self._options.is_public:
                raise
            if isinstance(error, ContextLengthError):
                raise error.under(asked.prompt_field) from error
            raise error.renamed(asked.field_of) from error

    async def _model_asked_for(self, asked: str | None) -> ModelDescription:
        """Return the model, which is the one that is asked for; None: any.

        Raises:
            NotFoundError: it is another.
            UnavailableError: only a server knows which it is, and cannot be asked.
        """
        if self._runner.model.fingerprint is None:
            await self._runner.ping()
        model = self._runner.model
        if asked is not None and not supports_model(model, asked):
            raise NotFoundError(
                "the model asked for is not served here; GET /v1/models lists the one that is"
            )
        return model

    def _model_content(self, model: ModelDescription) -> dict[str, object]:
        return {
            "id": model.model_id,
            "object": "model",
            "created": self._started_s,
            "owned_by": "llm-inference-service",
            "max_model_len": model.context_length,
        }
