"""``OnnxTextGenerator``: the ports ``TextGenerator``, ``LabelScorer`` and ``TextEmbedder`` on the engine.

The event loop only moves events: templates and tokenisation run in a thread of their own, the model in the
engine's.

When a conversation and its answer do not fit into the context, the rule is: a prompt that leaves no room for
a single token is refused (``ContextLengthError``; nothing is cut away silently), and an answer that reaches
the end of the context stops there with the finish reason ``length``.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from adapters.manifest import check_sizes, fingerprint_of
from adapters.onnx.chat_template import ChatTemplate, read_chat_template
from adapters.onnx.engine import Engine
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.sampler import Floats, RowSampling
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import Event, LabelScoring, SingleStep, TextEmbedding
from adapters.onnx.sequence import Sequence as EngineSequence
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer
from domain.errors import (
    ContextLengthError,
    FieldProblem,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from domain.generation import Capability, Embedding, LabelScores, ModelDescription, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt
from domain.stop_sequences import StopSequenceFilter

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How to run a model folder."""

    provider: ProviderChoice = ProviderChoice.AUTO
    num_threads: int | None = None
    """Threads of one operator; None: the processors this process may use."""
    max_running_sequences: int = 4
    """Slots of the KV cache."""
    max_waiting_requests: int = 256
    max_context_tokens: int = 4096
    """Prompt and answer together; at most the model's own context."""
    prefill_chunk_tokens: int = 256


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What ``open`` makes."""

    engine: Engine
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    eos_token_ids: frozenset[int]
    context_length: int
    has_hidden_states: bool


class OnnxTextGenerator:
    """A model folder of ONNX Runtime GenAI's format on plain ONNX Runtime, with continuous batching."""

    def __init__(self, folder: Path, model_id: str, options: OnnxOptions) -> None:
        self._folder = folder
        self._options = options
        self._preparation = ThreadPoolExecutor(1, thread_name_prefix="onnx-prepare")
        self._loaded: _Loaded | None = None
        self._model = ModelDescription(model_id)

    @property
    def model(self) -> ModelDescription:
        return self._model

    @property
    def capabilities(self) -> frozenset[Capability]:
        has_embeddings = self._loaded is not None and self._loaded.has_hidden_states
        return frozenset(
            {Capability.LABEL_SCORES, *({Capability.EMBEDDINGS} if has_embeddings else ())},
        )

    async def open(self) -> None:
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._preparation, self._load)
        self._loaded.engine.start()

    async def close(self) -> None:
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            await asyncio.get_running_loop().run_in_executor(self._preparation, loaded.engine.stop)
        self._preparation.shutdown(wait=False)

    async def ping(self) -> None:
        if not self._ready().engine.is_running:
            raise UnavailableError("the engine has stopped")

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def emit(event: Event) -> None:
            with suppress(RuntimeError):  # the event loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        sequence = await loop.run_in_executor(self._preparation, _sequence, loaded, prompt, emit)
        loaded.engine.submit(sequence)
        is_over = False
        try:
            while not is_over:
                event = await events.get()
                is_over = isinstance(event, ServiceError) or event.finish_reason is not None
                if isinstance(event, ServiceError):
                    raise event
                yield event
        finally:
            if not is_over:
                loaded.engine.cancel(sequence)

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        prompt_ids, label_ids = await loop.run_in_executor(
            self._preparation, _label_ids, loaded, messages, labels
        )
        outcome: _Outcome[list[float]] = _Outcome()
        scoring = LabelScoring(prompt_ids, label_ids, outcome.set_result, outcome.set_error)
        scores = await outcome.of(scoring, loaded.engine)
        return LabelScores(dict(zip(labels, scores, strict=True)), Usage(len(prompt_ids), 0))

    async def embed(self, text: str) -> Embedding:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        prompt_ids = await loop.run_in_executor(self._preparation, _text_ids, loaded, text)
        outcome: _Outcome[Floats] = _Outcome()
        embedding = TextEmbedding(prompt_ids, outcome.set_result, outcome.set_error)
        vector = await outcome.of(embedding, loaded.engine)
        return Embedding(tuple(vector.tolist()), Usage(len(prompt_ids), 0))

    def _ready(self) -> _Loaded:
        if self._loaded is None:
            raise UnavailableError("the model is not loaded")
        return self._loaded

    def _load(self) -> _Loaded:
        options = self._options
        check_sizes(self._folder)
        folder = read_model_folder(self._folder)
        tokenizer = Tokenizer(self._folder)
        chat_template = read_chat_template(self._folder)
        context_length = min(folder.context_length, options.max_context_tokens)
        session = OnnxSession(
            folder,
            options.provider,
            num_threads=options.num_threads or len(os.sched_getaffinity(0)),
            num_slots=options.max_running_sequences,
            max_length=context_length,
        )
        scheduler = Scheduler(
            num_slots=options.max_running_sequences,
            max_waiting=options.max_waiting_requests,
            prefill_chunk_tokens=options.prefill_chunk_tokens,
        )
        fingerprint = fingerprint_of(self._folder)
        self._model = ModelDescription(self._model.model_id, context_length, session.provider, fingerprint)
        engine = Engine(session, scheduler)
        has_hidden_states = folder.hidden_states_name is not None
        return _Loaded(
            engine, tokenizer, chat_template, folder.eos_token_ids, context_length, has_hidden_states
        )


class _Outcome(Generic[ResultT]):
    """What the engine's thread says of work of a single step, on its way to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[ResultT] = self._loop.create_future()

    def set_result(self, result: ResultT) -> None:
        self._conclude(lambda: self._future.set_result(result))

    def set_error(self, error: ServiceError) -> None:
        self._conclude(lambda: self._future.set_exception(error))

    async def of(self, work: SingleStep, engine: Engine) -> ResultT:
        """Submit the work and wait; a request that is cancelled takes it out again."""
        engine.submit(work)
        try:
            return await self._future
        finally:
            if not self._future.done() or self._future.cancelled():
                engine.cancel(work)

    def _conclude(self, action: Callable[[], None]) -> None:
        def unless_cancelled() -> None:
            if not self._future.done():
                action()

        with suppress(RuntimeError):  # the event loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(unless_cancelled)


def _sequence(loaded: _Loaded, prompt: Prompt, emit: Callable[[Event], None]) -> EngineSequence:
    prompt_ids = loaded.tokenizer.encode(loaded.chat_template.render(prompt.messages))
    room = _room(loaded, len(prompt_ids))
    parameters = prompt.parameters
    return EngineSequence(
        prompt_ids=prompt_ids,
        max_tokens=min(parameters.max_tokens or room, room),
        eos_token_ids=loaded.eos_token_ids,
        sampling=RowSampling(parameters, prompt_ids),
        detokenizer=loaded.tokenizer.detokenizer(),
        stop=StopSequenceFilter(parameters.stop),
        emit=emit,
    )


def _label_ids(
    loaded: _Loaded, messages: Sequence[ChatMessage], labels: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    prompt_ids = loaded.tokenizer.encode(loaded.chat_template.render(messages))
    label_ids = [loaded.tokenizer.encode(label) for label in labels]
    if max(map(len, label_ids)) > _room(loaded, len(prompt_ids)):
        raise ContextLengthError(len(prompt_ids), loaded.context_length)
    return prompt_ids, label_ids


def _text_ids(loaded: _Loaded, text: str) -> list[int]:
    token_ids = loaded.tokenizer.encode(text)
    if not token_ids:
        raise InvalidRequestError(FieldProblem("", "there is no text to embed"))
    _room(loaded, len(token_ids))
    return token_ids


def _room(loaded: _Loaded, num_prompt_tokens: int) -> int:
    """Return how many tokens of answer fit behind the prompt, one at least."""
    if num_prompt_tokens >= loaded.context_length:
        raise ContextLengthError(num_prompt_tokens, loaded.context_length)
    return loaded.context_length - num_prompt_tokens
