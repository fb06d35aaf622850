"""The engine: one thread that takes requests through the model, step by step.

Each step: drop what was cancelled, read some of the prompts, decode one token for every answer under way
(several where a sole answer can be guessed), tell the requests. Where the model can, a chunk of a prompt is
read in the very pass that decodes, so that both take the weights once. ``submit`` and ``cancel`` may be
called from any thread; they wait for bookkeeping at most, never for the model.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import numpy as np

from adapters.onnx.engine_observer import EngineObserver, NobodyObserves, tell_of_answer
from adapters.onnx.logprobs import TokenTexts
from adapters.onnx.model_runner import ModelRunner
from adapters.onnx.prefill_budget import LEAST_CHUNK_TOKENS, PrefillBudget
from adapters.onnx.prefix_cache import PrefixCache
from adapters.onnx.prefix_reuse import PrefixReuse
from adapters.onnx.prompt_lookup import PassCosts
from adapters.onnx.sampler import Floats, Ints
from adapters.onnx.scheduler import Scheduler
from adapters.onnx.sequence import LabelScoring, Sequence, TextEmbedding, Work
from adapters.onnx.token_choice import choose_tokens
from domain.errors import BackendError, ServiceError, UnavailableError

EXPECTED_ANSWER_TOKENS = 128
"""A slot keeps memory for a prompt and for so much of an answer, whatever the one before it took."""
OBSERVE_S = 0.1
"""At least, between two looks at what runs; nobody asks for the figures more often."""
REST_S = 1.0
"""Without work for so long, every slot gives its memory back."""

log = logging.getLogger(__name__)


class Engine:
    """Runs a model for many requests at once.

    Args:
        model: the model and its KV cache; used by the engine's thread alone.
        scheduler: the waiting line and the slots.
        prefixes: which prefixes are kept; their keys and values lie with the model.
        budget: the size of prefill chunks.
        token_texts: what tokens read as, for log probabilities.
        flush: called in the engine's thread, at the end of each step and as answers end: what was emitted can
            be sent.
        observer: told of steps and answers.
    """

    def __init__(
        self,
        model: ModelRunner,
        scheduler: Scheduler,
        prefixes: PrefixCache,
        budget: PrefillBudget,
        *,
        token_texts: TokenTexts,
        flush: Callable[[], None] = lambda: None,
        observer: EngineObserver | None = None,
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._budget = budget
        self._token_texts = token_texts
        self._flush = flush
        self._observer = observer or NobodyObserves()
        self._prefixes = PrefixReuse(model, prefixes)
        self._pass_costs = PassCosts()
        self._cancelled: list[Work] = []
        self._is_stopping = False
        self._step_began_s: float | None = None
        self._observed_s = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="onnx-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End every request with ``UnavailableError``, wait for the step under way, end the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._is_stopping

    @property
    def step_s(self) -> float:
        """How long the step under way has taken; 0 where there is none."""
        began_s = self._step_began_s
        return 0.0 if began_s is None else time.perf_counter() - began_s

    def submit(self, work: Work) -> None:
        """Queue a request.

        Raises:
            UnavailableError: the engine has stopped.
        """
        with self._changed:
            if not self.is_running:
                raise UnavailableError("the engine is not running")
            work.submitted_s = time.perf_counter()
            self._scheduler.add(work)
            self._changed.notify()

    def cancel(self, work: Work) -> None:
        """Take a request out before the next step; nothing happens if it is done already."""
        with self._changed:
            self._cancelled.append(work)
            self._changed.notify()

    def _run(self) -> None:
        reason: ServiceError = UnavailableError("the service is shutting down")
        try:
            while self._wait_for_work():
                self._step_began_s = time.perf_counter()
                self._step()
                self._flush()
                self._observe()
                self._step_began_s = None
        except Exception:
            reason = BackendError("the engine failed")
            raise
        finally:
            with self._changed:
                self._is_stopping = True
            self._end(self._scheduler.all_work(), reason)
            self._flush()

    def _wait_for_work(self) -> bool:
        with self._changed:
            if self._changed.wait_for(self._is_needed, REST_S):
                return not self._is_stopping
        self._give_memory_back()
        with self._changed:
            self._changed.wait_for(self._is_needed)
            return not self._is_stopping

    def _give_memory_back(self) -> None:
        with suppress(BackendError):  # passes that are asked for tell why they fail
            self._model.rest()
        for slot in range(self._scheduler.num_slots):
            with self._changed:
                if self._is_needed():
                    return
            self._model.trim_slot(slot, 0)

    def _is_needed(self) -> bool:
        return self._is_stopping or bool(self._cancelled) or self._scheduler.has_work

    def _observe(self) -> None:
        now_s = time.perf_counter()
        with self._changed:
            if self._scheduler.has_work and now_s - self._observed_s < OBSERVE_S:
                return
            works = self._scheduler.running()
            num_waiting = self._scheduler.num_waiting
        self._observed_s = now_s
        self._observer.ran(len(works), num_waiting, sum(work.num_cached for work in works))

    def _step(self) -> None:
        with self._changed:
            while self._cancelled:
                self._scheduler.remove(self._cancelled.pop())
            moves = self._scheduler.compact()
            num_decoding, num_waiting = len(self._scheduler.decoding()), self._scheduler.num_unread
        for move in moves:
            self._model.copy_slot(move.source, move.target, move.length)
        self._budget.begin_step(num_decoding=num_decoding, num_waiting=num_waiting)
        beside = self._read_prompts(may_put_off=num_decoding > 0 and self._model.takes_chunks)
        if num_decoding > 1:
            self._read_forced()
        with self._changed:
            prefilling = self._scheduler.prefilling
            decoding = self._scheduler.decoding()
        if beside is not None:
            self._decode_beside(decoding, *beside)
        elif len(decoding) == 1 and prefilling is None:
            self._decode_alone(decoding[0])
        elif decoding:
            self._decode(decoding, prefilling)

    def _next_prefill(self) -> Work | None:
        with self._changed:
            return self._scheduler.next_prefill()

    def _read_prompts(self, *, may_put_off: bool) -> tuple[Work, int] | None:
        """Read what the step has time for.

        Args:
            may_put_off: whether a chunk can be read in the pass that decodes.

        Returns:
            Whose tokens are to be read there, and how many; None: nobody's.
        """
        while (work := self._next_prefill()) is not None:
            is_put_off = may_put_off and work.is_at_prompt
            num_tokens = self._next_chunk(work, is_beside=is_put_off)
            if num_tokens is None:
                continue
            if num_tokens == 0:
                break
            if is_put_off:
                self._budget.put_off(num_tokens, work.num_cached)
                return work, num_tokens
            self._read(work, num_tokens)
        return None

    def _next_chunk(self, work: Work, *, is_beside: bool) -> int | None:
        """Return how many tokens to read of a prompt, 0 where there is no time; None: its answer is over."""
        if work.started_s is None:
            work.started_s = time.perf_counter()
            self._model.trim_slot(work.held_slot, work.num_tokens + EXPECTED_ANSWER_TOKENS)
        if work.num_cached == 0 and work.is_at_prompt:
            self._prefixes.begin(work)
        num_tokens = self._fitting(work, is_beside=is_beside)
        if work.num_cached + num_tokens == work.num_tokens and isinstance(work, Sequence):
            if self._begin_answer(work):
                return None
            num_tokens = self._fitting(work, is_beside=is_beside)
        return num_tokens

    def _fitting(self, work: Work, *, is_beside: bool) -> int:
        return self._budget.next_chunk(work.num_unread, num_past=work.num_cached, is_beside=is_beside)

    def _begin_answer(self, sequence: Sequence) -> bool:
        """Take what the answer must begin with, to be read behind the prompt; returns whether that is all."""
        return not sequence.output_ids and self._finish([sequence], [sequence.append_forced])

    def _read(self, work: Work, num_tokens: int) -> None:
        slot, token_ids = work.held_slot, work.unread(num_tokens)
        logits = None
        started_s = time.perf_counter()
        try:
            if isinstance(work, TextEmbedding):
                work.add(self._model.hidden_states(slot, token_ids, work.num_cached))
            else:
                num_logits = work.num_logits(num_tokens)
                logits = self._model.prefill(slot, token_ids, work.num_cached, num_logits=num_logits)
        except BackendError as error:
            self._end([work], error)
            return
        self._budget.prefilled(num_tokens, time.perf_counter() - started_s)
        self._take_chunk(work, num_tokens, logits)

    def _take_chunk(self, work: Work, num_tokens: int, logits: Floats | None) -> None:
        """Take note of tokens that were read, and go on with the answer where they were the last."""
        is_first = work.num_cached == work.num_reused
        work.num_cached += num_tokens
        if work.is_at_prompt:
            if is_first:
                self._observer.prefix_looked_up(len(work.prompt_ids), work.num_reused)
            self._prefixes.keep(work)  # chunk by chunk: a long prompt's blocks at once would stall the others
        if not work.is_prefilled and work.is_at_prompt:
            return
        match work:
            case Sequence() if logits is not None:
                with self._changed:
                    self._scheduler.start_decoding(work)
                self._take_tokens([work], logits)
            case LabelScoring() if logits is not None:
                if work.take(logits):
                    work.emit_scores(work.scores)
                    self._remove([work])
            case TextEmbedding() if work.is_prefilled:
                work.finish()
                self._remove([work])

    def _read_forced(self) -> None:
        """Read what answers' forms force, all but the last token, where it is worth a pass of its own."""
        with self._changed:
            decoding = self._scheduler.decoding()
        for sequence in decoding:
            num_forced = sequence.num_tokens - 1 - sequence.num_cached
            num_tokens = self._budget.next_chunk(num_forced) if num_forced >= LEAST_CHUNK_TOKENS else 0
            if num_tokens < LEAST_CHUNK_TOKENS:
                continue
            self._read(sequence, num_tokens)

    def _decode(self, decoding: list[Sequence], prefilling: Work | None) -> None:
        token_ids, lengths = _rows_of(decoding)
        if prefilling is not None and prefilling.held_slot < len(lengths):
            # its row is run and not read: what that writes lies behind what is there
            lengths[prefilling.held_slot] = prefilling.num_cached
        started_s = time.perf_counter()
        try:
            logits = self._model.decode(token_ids, lengths)
        except BackendError as error:
            self._end(decoding, error)
            return
        self._budget.decoded(time.perf_counter() - started_s)
        self._take_rows(decoding, logits)

    def _decode_beside(self, decoding: list[Sequence], work: Work, num_tokens: int) -> None:
        """Decode, and read so many tokens of a prompt in the same pass."""
        if not decoding:  # they failed since
            self._read(work, num_tokens)
            return
        token_ids, lengths = _rows_of(decoding)
        slot = work.held_slot
        if slot < len(lengths):
            # as in ``_decode``: behind the chunk, which is written in the same pass
            lengths[slot] = work.num_cached + num_tokens
        started_s = time.perf_counter()
        try:
            logits, behind = self._model.decode_beside(
                token_ids,
                lengths,
                slot=slot,
                chunk_ids=work.unread(num_tokens),
                num_past=work.num_cached,
                num_logits=work.num_logits(num_tokens),
            )
        except BackendError as error:
            self._end([*decoding, work], error)
            return
        duration_s = time.perf_counter() - started_s
        self._budget.decoded(duration_s, num_beside=num_tokens, num_past=work.num_cached)
        self._take_rows(decoding, logits)
        self._take_chunk(work, num_tokens, behind)

    def _take_rows(self, decoding: list[Sequence], logits: Floats) -> None:
        for sequence in decoding:
            sequence.num_cached += 1
        # who still has forced tokens to feed does not choose yet
        choosing = [sequence for sequence in decoding if sequence.num_cached == sequence.num_tokens]
        if len(choosing) < len(logits):
            logits = logits[[sequence.held_slot for sequence in choosing]]
        self._take_tokens(choosing, logits)

    def _decode_alone(self, sequence: Sequence) -> None:
        """Decode a sole sequence: several tokens in one pass, where they are forced or can be guessed."""
        fed = sequence.token_ids(sequence.num_cached, sequence.num_tokens)
        if len(fed) > self._budget.max_chunk_tokens:
            self._read(sequence, self._budget.max_chunk_tokens)
            return
        guesses = self._guesses(sequence) if len(fed) == 1 else []
        token_ids = np.array(fed + guesses, np.int64)
        slot, num_past = sequence.held_slot, sequence.num_cached
        started_s = time.perf_counter()
        try:
            logits = (
                self._model.verify(slot, token_ids, num_past)
                if guesses
                else self._model.prefill(slot, token_ids, num_past)
            )
        except BackendError as error:
            self._end([sequence], error)
            return
        duration_s = time.perf_counter() - started_s
        if len(fed) == 1:
            self._pass_costs.measured(len(token_ids), duration_s)
            if not guesses:
                self._budget.decoded(duration_s)
        num_checked = sequence.num_cached + len(fed)
        sequence.num_cached = num_checked
        for place in range(len(guesses) + 1):
            is_finished = self._take_tokens([sequence], logits[place : place + 1])
            if is_finished or place == len(guesses):
                break
            # a guess is right where the sequence went on with it, and with nothing else
            if sequence.token_ids(num_checked + place, sequence.num_tokens) != [guesses[place]]:
                break
            sequence.num_cached += 1
        if sequence.lookup is not None and guesses:
            sequence.lookup.learn(sequence.num_cached - num_checked, len(guesses))

    def _guesses(self, sequence: Sequence) -> list[int]:
        if sequence.lookup is None:
            return []
        room = sequence.max_tokens - len(sequence.output_ids) - 1
        return sequence.lookup.draft(self._pass_costs, room)

    def _take_tokens(self, rows: list[Sequence], logits: Floats) -> bool:
        """Choose the next token of each row; returns whether one of them is finished, or failed."""
        try:
            chosen = choose_tokens(rows, logits, self._token_texts)
        except Exception as error:  # noqa: BLE001 - what one request asks for must not end the others
            if len(rows) > 1:
                # each alone: only rows that penalties or a form changed already may be the worse for it
                taken = [self._take_tokens([row], logits[i : i + 1]) for i, row in enumerate(rows)]
                return any(taken)
            log.error("no token could be chosen: %s", type(error).__name__)  # noqa: TRY400 - as below
            self._end(rows, BackendError("the next token could not be chosen"))
            return True
        return self._finish(
            rows, [partial(row.append, *each) for row, each in zip(rows, chosen, strict=True)]
        )

    def _finish(self, rows: list[Sequence], appends: list[Callable[[], bool]]) -> bool:
        """Let each row take its tokens; returns whether one of them is finished, or failed."""
        finished = []
        now_s = time.perf_counter()
        for row, append in zip(rows, appends, strict=True):
            if row.first_token_s is None and row.is_prefilled:
                row.first_token_s = now_s
            try:
                if not append():
                    continue
                tell_of_answer(self._observer, row, now_s)
            except ServiceError as error:
                row.emit_error(error)
            except Exception as error:  # noqa: BLE001 - one answer must not end the engine, whatever it is
                # neither message nor traceback: they may hold its text
                log.error("an answer cannot go on: %s", type(error).__name__)  # noqa: TRY400
                row.emit_error(BackendError("the answer cannot go on"))
            finished.append(row)
        if finished:
            self._flush()  # whoever asked need not wait until what the answer leaves is kept
            for row in finished:
                self._prefixes.keep(row)
            self._remove(finished)
        return bool(finished)

    def _remove(self, works: Iterable[Work]) -> None:
        with self._changed:
            for work in works:
                self._scheduler.remove(work)

    def _end(self, works: Iterable[Work], error: ServiceError) -> None:
        works = list(works)
        self._remove(works)
        for work in works:
            work.emit_error(copy.copy(error))  # each is raised for its own caller


def _rows_of(decoding: list[Sequence]) -> tuple[Ints, Ints]:
    """Return the token that each slot feeds, and its length; 0 and 0 for holes.

    Args:
        decoding: one or more, by slot.
    """
    num_rows = 1 + decoding[-1].held_slot
    token_ids, lengths = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64)
    for sequence in decoding:
        slot = sequence.held_slot
        token_ids[slot] = sequence.token_id(sequence.num_cached)
        lengths[slot] = sequence.num_cached
    return token_ids, lengths
