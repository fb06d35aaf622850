"""``OnnxTextGenerator``: the ports ``TextGenerator``, ``LabelScorer`` and ``TextEmbedder`` on the engine.

The event loop only moves events: templates and tokenisation run in a thread of their own, the model in the
engine's.

When a conversation and its answer do not fit into the context, the rule is: a prompt that leaves no room for
a single token is refused (``ContextLengthError``; nothing is cut away silently), and an answer that reaches
the end of the context stops there with the finish reason ``length``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from adapters.manifest import check_sizes, fingerprint_of
from adapters.onnx.admission import Admission, AdmissionLimits
from adapters.onnx.chat_template import ChatTemplate, read_chat_template
from adapters.onnx.constraint import ConstraintCompiler, TokenConstraint
from adapters.onnx.engine import Engine
from adapters.onnx.engine_observer import EngineObserver
from adapters.onnx.engine_trace import trace_work
from adapters.onnx.freed_memory import return_freed_memory
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.prefill_budget import PrefillBudget
from adapters.onnx.prefix_cache import PrefixCache
from adapters.onnx.prompt_lookup import PromptLookup
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.sampler import Floats, RowSampling
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import Event, LabelScoring, TextEmbedding, Work
from adapters.onnx.sequence import Sequence as EngineSequence
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer
from adapters.onnx.watchdog import Watchdog
from adapters.processors import num_processors
from domain.errors import (
    ContextLengthError,
    FieldProblem,
    InvalidRequestError,
    ServiceError,
    UnavailableError,
)
from domain.generation import Capability, Embedding, LabelScores, ModelDescription, TokenChunk, Usage
from domain.messages import ChatMessage, Prompt
from domain.prompt_needs import refuse_too_long
from domain.stop_sequences import StopSequenceFilter
from domain.tracing import NO_TRACES, Tracer

ResultT = TypeVar("ResultT")

TEMPLATE_TOKENS = 32
"""Of a chat template around one message, at most, as far as admission is concerned."""


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """How to run a model folder."""

    provider: ProviderChoice = ProviderChoice.AUTO
    num_threads: int | None = None
    """Threads of one operator; None: the processors that this process can keep busy."""
    max_running_sequences: int = 16
    """Slots of the KV cache."""
    max_waiting_requests: int = 256
    """Beyond those that have slots."""
    max_waiting_tokens: int = 262_144
    """Of the prompts that wait, together."""
    max_context_tokens: int = 4096
    """Prompt and answer together; at most the model's own context."""
    max_prompt_tokens: int | None = None
    """None: as many as the context has room for."""
    prefill_chunk_tokens: int = 256
    max_prefill_stall: float = 1.4
    """How long a chunk may take where answers are under way, in decode steps."""
    prefix_cache_bytes: int = 128 << 20
    max_draft_tokens: int = 7
    """Tokens guessed by prompt lookup at once; 0 switches it off."""
    max_step_s: float = 60.0
    """A step of the engine that takes longer is taken to hang."""
    max_wait_s: float = 170.0
    """Where a request waits for longer, something holds the line up."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What ``open`` makes."""

    engine: Engine
    outbox: "_Outbox"
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    constraints: ConstraintCompiler
    eos_token_ids: frozenset[int]
    context_length: int
    vocab_size: int
    max_prompt_tokens: int | None
    has_hidden_states: bool
    max_draft_tokens: int
    guesses_exactly: bool
    """Whether an answer is the same with guesses and without, to the bit."""


class OnnxTextGenerator:
    """A model folder of ONNX Runtime GenAI's format on plain ONNX Runtime, with continuous batching.

    Args:
        folder: the model.
        model_id: what callers know it by.
        options: how to run it.
        observer_of: makes who is told of the engine's work, for the tokens that the KV cache holds.
        on_broken: told why the engine will answer nobody any more; None: nobody watches it.
        tracer: told of each request's way through the engine.
    """

    def __init__(
        self,
        folder: Path,
        model_id: str,
        options: OnnxOptions,
        observer_of: Callable[[int], EngineObserver] | None = None,
        on_broken: Callable[[str], None] | None = None,
        *,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self._folder = folder
        self._tracer = tracer
        self._options = options
        self._observer_of = observer_of
        self._on_broken = on_broken
        self._watchdog: Watchdog | None = None
        self._preparation = ThreadPoolExecutor(1, thread_name_prefix="onnx-prepare")
        self._compilation = ThreadPoolExecutor(1, thread_name_prefix="onnx-constrain")
        self._admission = Admission(
            AdmissionLimits(
                max_running=options.max_running_sequences,
                max_waiting=options.max_waiting_requests,
                max_waiting_tokens=options.max_waiting_tokens,
            )
        )
        self._loaded: _Loaded | None = None
        self._model = ModelDescription(model_id)

    @property
    def model(self) -> ModelDescription:
        return self._model

    @property
    def capabilities(self) -> frozenset[Capability]:
        has_embeddings = self._loaded is not None and self._loaded.has_hidden_states
        return frozenset(
            {
                Capability.LABEL_SCORES,
                Capability.LOGPROBS,
                Capability.CONSTRAINTS,
                Capability.TEXT_PROMPTS,
                *({Capability.EMBEDDINGS} if has_embeddings else ()),
            },
        )

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._loaded = await loop.run_in_executor(self._preparation, self._load, _Outbox(loop))
        self._loaded.engine.start()
        if self._on_broken is not None:
            self._watchdog = Watchdog(self._loaded.engine, self._options.max_step_s, self._on_broken)
            self._watchdog.start()

    async def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            await asyncio.get_running_loop().run_in_executor(self._preparation, loaded.engine.stop)
            loaded.constraints.close()
        self._preparation.shutdown(wait=False)
        self._compilation.shutdown(wait=False)

    async def ping(self) -> None:
        engine = self._ready().engine
        if not engine.is_running:
            raise UnavailableError("the engine has stopped")
        if engine.step_s > self._options.max_step_s:
            raise UnavailableError("the engine hangs")
        if self._admission.oldest_wait_s > self._options.max_wait_s:
            raise UnavailableError("a request has waited for longer than any may take")

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def emit(event: Event) -> None:
            loaded.outbox.put(partial(events.put_nowait, event))

        with self._admission.enter(_most_tokens(loaded, prompt)) as ticket:
            constraint: TokenConstraint | None = None
            if (declared := prompt.parameters.constraint) is not None:
                compiled = loop.run_in_executor(self._compilation, loaded.constraints.compile, declared)
                constraint = await compiled
                self._ready()  # it may have been closed meanwhile, and its threads with it
            prepared = partial(_sequence, loaded, prompt, emit, constraint)
            sequence = await loop.run_in_executor(self._preparation, prepared)
            ticket.correct(len(sequence.prompt_ids))
            loaded.engine.submit(sequence)
            is_over = False
            try:
                while not is_over:
                    event = await events.get()
                    ticket.begin()
                    is_over = isinstance(event, ServiceError) or event.finish_reason is not None
                    if isinstance(event, ServiceError):
                        raise event
                    yield event
            finally:
                if not is_over:
                    loaded.engine.cancel(sequence)
                trace_work(self._tracer, sequence)

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        with self._admission.enter(_most_tokens(loaded, Prompt(messages))) as ticket:
            prompt_ids, label_ids = await loop.run_in_executor(
                self._preparation, _label_ids, loaded, messages, labels
            )
            ticket.correct(len(prompt_ids))
            outcome: _Outcome[list[float]] = _Outcome(loaded.outbox)
            scoring = LabelScoring(
                prompt_ids=prompt_ids,
                label_ids=label_ids,
                emit_scores=outcome.set_result,
                emit_error=outcome.set_error,
            )
            scores = await outcome.of(scoring, loaded.engine, self._tracer)
        return LabelScores(dict(zip(labels, scores, strict=True)), Usage(len(prompt_ids), 0))

    async def embed(self, text: str) -> Embedding:
        loaded = self._ready()
        loop = asyncio.get_running_loop()
        with self._admission.enter(min(len(text.encode()), loaded.context_length)) as ticket:
            prompt_ids = await loop.run_in_executor(self._preparation, _text_ids, loaded, text)
            ticket.correct(len(prompt_ids))
            outcome: _Outcome[Floats] = _Outcome(loaded.outbox)
            embedding = TextEmbedding(
                prompt_ids=prompt_ids, emit_vector=outcome.set_result, emit_error=outcome.set_error
            )
            vector = await outcome.of(embedding, loaded.engine, self._tracer)
        return Embedding(tuple(vector.tolist()), Usage(len(prompt_ids), 0))

    def _ready(self) -> _Loaded:
        if self._loaded is None:
            raise UnavailableError("the model is not loaded")
        return self._loaded

    def _load(self, outbox: "_Outbox") -> _Loaded:
        options = self._options
        check_sizes(self._folder)
        folder = read_model_folder(self._folder)
        tokenizer = Tokenizer(self._folder)
        chat_template = read_chat_template(self._folder)
        context_length = min(folder.context_length, options.max_context_tokens)
        session = OnnxSession(
            folder,
            options.provider,
            num_threads=options.num_threads or num_processors(),
            num_slots=options.max_running_sequences,
            max_length=context_length,
            prefix_cache_bytes=options.prefix_cache_bytes,
            reads_beside=True,
            max_guesses=options.max_draft_tokens,
        )
        fingerprint = fingerprint_of(self._folder)
        self._model = ModelDescription(self._model.model_id, context_length, session.provider, fingerprint)
        num_kv_tokens = options.max_running_sequences * context_length
        engine = Engine(
            session,
            Scheduler(num_slots=options.max_running_sequences),
            PrefixCache(session.num_prefix_blocks),
            PrefillBudget(options.prefill_chunk_tokens, options.max_prefill_stall),
            token_texts=tokenizer,
            flush=outbox.flush,
            observer=self._observer_of(num_kv_tokens) if self._observer_of is not None else None,
        )
        return_freed_memory()  # what loading took for a while: 25 MiB here
        return _Loaded(
            engine,
            outbox,
            tokenizer,
            chat_template,
            ConstraintCompiler(tokenizer, folder.eos_token_ids, folder.vocab_size),
            folder.eos_token_ids,
            context_length,
            folder.vocab_size,
            options.max_prompt_tokens,
            folder.hidden_states_name is not None,
            options.max_draft_tokens,
            bool(session.verify_widths),
        )


class _Outbox:
    """Brings what the engine's thread says to the event loop, once a step."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deliveries: list[Callable[[], None]] = []

    def put(self, delivery: Callable[[], None]) -> None:
        """Have something called in the event loop, after the next ``flush``."""
        self._deliveries.append(delivery)

    def flush(self) -> None:
        """Hand over what was put."""
        if self._deliveries:
            deliveries, self._deliveries = self._deliveries, []
            try:
                self._loop.call_soon_threadsafe(_deliver, deliveries)
            except RuntimeError:  # the event loop is closed: nobody listens any more
                return


def _deliver(deliveries: list[Callable[[], None]]) -> None:
    for delivery in deliveries:
        delivery()


class _Outcome(Generic[ResultT]):
    """What the engine's thread says of work with one result, on its way to the event loop."""

    def __init__(self, outbox: _Outbox) -> None:
        self._outbox = outbox
        self._future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()

    def set_result(self, result: ResultT) -> None:
        self._conclude(lambda: self._future.set_result(result))

    def set_error(self, error: ServiceError) -> None:
        self._conclude(lambda: self._future.set_exception(error))

    async def of(self, work: Work, engine: Engine, tracer: Tracer) -> ResultT:
        """Submit the work and wait; a request that is cancelled takes it out again."""
        engine.submit(work)
        try:
            return await self._future
        finally:
            if not self._future.done() or self._future.cancelled():
                engine.cancel(work)
            trace_work(tracer, work)

    def _conclude(self, action: Callable[[], None]) -> None:
        def unless_cancelled() -> None:
            if not self._future.done():
                action()

        self._outbox.put(unless_cancelled)


def _most_tokens(loaded: _Loaded, prompt: Prompt) -> int:
    """Return a bound on a prompt's tokens, before they are counted: each has a byte at least."""
    if prompt.text is not None:
        num_bytes = len(prompt.text.encode(errors="replace"))
    else:
        contents = (len(message.content.encode(errors="replace")) for message in prompt.messages)
        num_bytes = sum(contents) + TEMPLATE_TOKENS * len(prompt.messages)
    return min(num_bytes, loaded.context_length)  # one that is longer is refused


def _sequence(
    loaded: _Loaded, prompt: Prompt, emit: Callable[[Event], None], constraint: TokenConstraint | None
) -> EngineSequence:
    if prompt.text is None:
        prompt_ids = _chat_ids(loaded, prompt.messages)
        detokenizer = loaded.tokenizer.detokenizer()
    else:
        prompt_ids = _token_ids(loaded, "prompt", prompt.text, add_special_tokens=True)
        detokenizer = loaded.tokenizer.detokenizer(behind=prompt_ids)
    room = _room(loaded, len(prompt_ids))
    parameters = prompt.parameters
    # where guesses change how passes are rounded: a seed is a wish to see the same again
    may_guess = parameters.seed is None or loaded.guesses_exactly
    max_draft_tokens = loaded.max_draft_tokens if may_guess else 0
    return EngineSequence(
        prompt_ids=prompt_ids,
        emit_error=emit,
        priority=prompt.priority,
        max_tokens=min(parameters.max_tokens or room, room),
        eos_token_ids=frozenset() if parameters.ignore_eos else loaded.eos_token_ids,
        sampling=RowSampling(parameters, prompt_ids, constraint),
        detokenizer=detokenizer,
        stop=StopSequenceFilter(parameters.stop),
        emit=emit,
        constraint=constraint,
        lookup=PromptLookup(prompt_ids, max_draft_tokens) if max_draft_tokens else None,
    )


def _label_ids(
    loaded: _Loaded, messages: Sequence[ChatMessage], labels: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    if not labels:
        raise InvalidRequestError(FieldProblem("labels", "there must be one at least"))
    prompt_ids = _chat_ids(loaded, messages)
    label_ids = [_token_ids(loaded, f"labels.{index}", label) for index, label in enumerate(labels)]
    if max(map(len, label_ids)) > _room(loaded, len(prompt_ids)):
        raise ContextLengthError(len(prompt_ids), loaded.context_length)
    return prompt_ids, label_ids


def _text_ids(loaded: _Loaded, text: str) -> list[int]:
    token_ids = _token_ids(loaded, "", text, add_special_tokens=True)
    refuse_too_long(len(token_ids), loaded.max_prompt_tokens)
    if len(token_ids) > loaded.context_length:
        raise ContextLengthError(len(token_ids), loaded.context_length)
    return token_ids


def _chat_ids(loaded: _Loaded, messages: Sequence[ChatMessage]) -> list[int]:
    return _token_ids(loaded, "prompt", loaded.chat_template.render(messages))


def _token_ids(loaded: _Loaded, field: str, text: str, *, add_special_tokens: bool = False) -> list[int]:
    """Return the tokens of what is read, one at least, all of which the model knows."""
    token_ids = loaded.tokenizer.encode(text, add_special_tokens=add_special_tokens)
    if not token_ids:
        raise InvalidRequestError(FieldProblem(field, "has no tokens"))
    if max(token_ids) >= loaded.vocab_size:  # it would end the pass, and the answers that others get of it
        raise InvalidRequestError(FieldProblem(field, "has a special token that the model does not know"))
    return token_ids


def _room(loaded: _Loaded, num_prompt_tokens: int) -> int:
    """Return how many tokens of answer fit behind the prompt, one at least."""
    refuse_too_long(num_prompt_tokens, loaded.max_prompt_tokens)
    if num_prompt_tokens >= loaded.context_length:
        raise ContextLengthError(num_prompt_tokens, loaded.context_length)
    return loaded.context_length - num_prompt_tokens
