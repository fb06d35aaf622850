"""``OptimumTextGenerator``: transformers' own ``generate`` on an ONNX model that optimum loads.

Generic and slow: for what the engine of ``adapters.onnx`` cannot run. One answer at a time, in a thread;
others wait in line.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from optimum.onnxruntime import ORTModelForCausalLM
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
    TextStreamer,
)

from adapters.manifest import fingerprint_of
from domain.errors import (
    BackendError,
    ConfigurationError,
    ContextLengthError,
    FieldProblem,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    UnavailableError,
)
from domain.generation import (
    Capability,
    FinishReason,
    LabelScores,
    ModelDescription,
    SamplingParameters,
    TokenChunk,
    Usage,
)
from domain.messages import ChatMessage, Prompt
from domain.prompt_needs import refuse_too_long
from domain.stop_sequences import StopSequenceFilter

Event = TokenChunk | ServiceError


class OptimumTextGenerator:
    """An exported model run by optimum.

    Args:
        folder: made by ``export_model``.
        model_id: what to call it.
        provider: an execution provider of ONNX Runtime.
        max_waiting: calls that may wait for the one under way.
        max_prompt_tokens: None: as many as the context has room for.
    """

    capabilities = frozenset({Capability.LABEL_SCORES})

    def __init__(
        self,
        folder: Path,
        model_id: str,
        *,
        provider: str = "CPUExecutionProvider",
        max_waiting: int = 256,
        max_prompt_tokens: int | None = None,
    ) -> None:
        self._folder = folder
        self._provider = provider
        self._max_waiting = max_waiting
        self._max_prompt_tokens = max_prompt_tokens
        self._num_calls = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="optimum")
        self._loaded: tuple[Any, Any, int] | None = None
        self._description = ModelDescription(model_id)

    @property
    def model(self) -> ModelDescription:
        return self._description

    async def open(self) -> None:
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def close(self) -> None:
        self._loaded = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def ping(self) -> None:
        self._ready()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[TokenChunk]:
        self._ready()
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        cancelled = threading.Event()

        def emit(event: Event) -> None:
            with suppress(RuntimeError):  # the event loop is closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        self._admit()
        work = loop.run_in_executor(self._thread, self._generate, prompt, emit, cancelled)
        work.add_done_callback(lambda _: self._leave())
        try:
            while True:
                event = await events.get()
                if isinstance(event, ServiceError):
                    raise event
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            cancelled.set()
            work.cancel()

    async def score_labels(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        self._ready()
        self._admit()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._score, messages, labels)
        work.add_done_callback(lambda _: self._leave())
        return await work

    def _admit(self) -> None:
        if self._num_calls > self._max_waiting:
            raise OverloadedError(f"{self._num_calls} requests are already waiting for the model")
        self._num_calls += 1

    def _leave(self) -> None:
        self._num_calls -= 1

    def _ready(self) -> tuple[Any, Any, int]:
        if self._loaded is None:
            raise UnavailableError("the model is not loaded")
        return self._loaded

    def _load(self) -> tuple[Any, Any, int]:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder)
            model = ORTModelForCausalLM.from_pretrained(
                self._folder, provider=self._provider, use_io_binding=False
            )
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigurationError(f"optimum cannot load {self._folder}: {first_line}") from error
        context_length = int(
            getattr(model.config, "max_position_embeddings", 0) or tokenizer.model_max_length
        )
        self._description = ModelDescription(
            self._description.model_id,
            context_length,
            str(model.providers[0]),
            fingerprint_of(self._folder),
        )
        return model, tokenizer, context_length

    def _prompt_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        _, tokenizer, context_length = self._ready()
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        except (TemplateError, ValueError) as error:
            reason = f"the model's chat template refuses the conversation: {error}"
            raise InvalidRequestError(FieldProblem("data.history", reason)) from error
        prompt_ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        refuse_too_long(len(prompt_ids), self._max_prompt_tokens)
        if len(prompt_ids) >= context_length:
            raise ContextLengthError(len(prompt_ids), context_length)
        return prompt_ids

    def _generate(self, prompt: Prompt, emit: Callable[[Event], None], cancelled: threading.Event) -> None:
        try:
            self._generate_or_raise(prompt, emit, cancelled)
        except ServiceError as error:
            emit(error)
        except Exception as error:  # noqa: BLE001 - torch's and the runtime's errors have no common base
            failure = BackendError(f"the model failed: {type(error).__name__}")
            failure.__cause__ = error
            emit(failure)

    def _generate_or_raise(
        self, prompt: Prompt, emit: Callable[[Event], None], cancelled: threading.Event
    ) -> None:
        if cancelled.is_set():
            return
        model, tokenizer, context_length = self._ready()
        prompt_ids = self._prompt_ids(prompt.messages)
        room = context_length - len(prompt_ids)
        max_tokens = min(prompt.parameters.max_tokens or room, room)
        streamer = _EmittingStreamer(tokenizer, prompt.parameters.stop, emit)
        if prompt.parameters.seed is not None:
            torch.manual_seed(prompt.parameters.seed)
        ids = torch.tensor([prompt_ids])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=_generation_config(prompt.parameters, max_tokens, model, tokenizer),
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList(
                [_StopWhen(lambda: cancelled.is_set() or streamer.has_stopped)]
            ),
        )[0].tolist()[len(prompt_ids) :]
        has_ended = streamer.has_stopped or output[-1] in _eos_token_ids(model, tokenizer)
        reason = FinishReason.STOP if has_ended else FinishReason.LENGTH
        emit(TokenChunk(streamer.rest, reason, Usage(len(prompt_ids), len(output))))

    def _score(self, messages: Sequence[ChatMessage], labels: Sequence[str]) -> LabelScores:
        model, tokenizer, context_length = self._ready()
        prompt_ids = self._prompt_ids(messages)
        scores: dict[str, float] = {}
        for label in labels:
            label_ids = tokenizer(label, add_special_tokens=False)["input_ids"]
            if len(prompt_ids) + len(label_ids) > context_length:
                raise ContextLengthError(len(prompt_ids), context_length)
            ids = torch.tensor([prompt_ids + label_ids])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            predicted = torch.log_softmax(logits[len(prompt_ids) - 1 : -1].double(), dim=-1)
            scores[label] = float(predicted[np.arange(len(label_ids)), label_ids].sum())
        return LabelScores(scores, Usage(len(prompt_ids), 0))


class _EmittingStreamer(TextStreamer):  # type: ignore[misc]
    """Cuts at stop sequences and passes text on as transformers completes it."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], emit: Callable[[Event], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._stop = StopSequenceFilter(stop)
        self._emit = emit

    @property
    def has_stopped(self) -> bool:
        return self._stop.has_stopped

    @property
    def rest(self) -> str:
        """What was held back as a possible stop sequence, at the end."""
        return self._stop.flush()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002 - the base's signature
        if not self.has_stopped and (passed := self._stop.feed(text)):
            self._emit(TokenChunk(passed))


class _StopWhen(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - the base's signature
        return torch.full((len(input_ids),), self._condition(), dtype=torch.bool)


def _generation_config(
    parameters: SamplingParameters, max_tokens: int, model: Any, tokenizer: Any
) -> GenerationConfig:
    sampling = (
        {
            "do_sample": True,
            "temperature": parameters.temperature,
            "top_k": parameters.top_k,
            "top_p": parameters.top_p,
            "min_p": parameters.min_p or None,
        }
        if parameters.temperature > 0
        else {"do_sample": False}
    )
    eos_token_ids = sorted(_eos_token_ids(model, tokenizer))
    return GenerationConfig(
        max_new_tokens=max_tokens,
        repetition_penalty=parameters.repetition_penalty,
        eos_token_id=eos_token_ids,
        pad_token_id=eos_token_ids[0],
        **sampling,
    )


def _eos_token_ids(model: Any, tokenizer: Any) -> set[int]:
    eos = model.generation_config.eos_token_id
    ids = set(eos if isinstance(eos, list) else [eos]) | {tokenizer.eos_token_id}
    return {int(token_id) for token_id in ids if token_id is not None}
