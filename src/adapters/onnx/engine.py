"""The engine: one thread that takes requests through the model, step by step.

Each step: drop what was cancelled, run one chunk of a prompt, decode one token for every answer under way,
tell the requests. ``submit`` and ``cancel`` may be called from any thread; they wait for bookkeeping at most,
never for the model.
"""

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from adapters.onnx.sampler import Floats, Ints, log_softmax_at, sample_rows
from adapters.onnx.scheduler import PrefillChunk, Scheduler, SlotMove
from adapters.onnx.sequence import LabelScoring, Sequence, SingleStep, TextEmbedding, Work
from domain.errors import BackendError, ServiceError, UnavailableError


class ModelRunner(Protocol):
    """What the engine needs of a model: see ``adapters.onnx.session.OnnxSession``."""

    def prefill(self, slot: int, token_ids: Ints, num_past: int, *, num_logits: int = 1) -> Floats:
        """Append ``int64[n]`` tokens to a slot; return the last ``float32[num_logits, vocab]``."""
        ...

    def decode(self, token_ids: Ints, lengths: Ints) -> Floats:
        """Append a token to each slot from 0 on; return logits ``float32[rows, vocab]``."""
        ...

    def hidden_states(self, slot: int, token_ids: Ints, num_past: int) -> Floats:
        """Append ``int64[n]`` tokens to a slot; return the last layer's ``float32[n, hidden]``."""
        ...

    def copy_slot(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a slot over another."""
        ...


class Engine:
    """Runs a model for many requests at once.

    Args:
        model: the model and its KV cache; used by the engine's thread alone.
        scheduler: the waiting line and the slots.
    """

    def __init__(self, model: ModelRunner, scheduler: Scheduler) -> None:
        self._model = model
        self._scheduler = scheduler
        self._cancelled: list[Work] = []
        self._is_stopping = False
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

    def submit(self, work: Work) -> None:
        """Queue a request.

        Raises:
            OverloadedError: too many wait.
            UnavailableError: the engine has stopped.
        """
        with self._changed:
            if not self.is_running:
                raise UnavailableError("the engine is not running")
            self._scheduler.add(work)
            self._changed.notify()

    def cancel(self, work: Work) -> None:
        """Take a request out before the next step; nothing happens if it is done already."""
        with self._changed:
            work.is_cancelled = True
            self._cancelled.append(work)
            self._changed.notify()

    def _run(self) -> None:
        reason: ServiceError = UnavailableError("the service is shutting down")
        try:
            while self._wait_for_work():
                self._step()
        except Exception:
            reason = BackendError("the engine failed")
            raise
        finally:
            with self._changed:
                self._is_stopping = True
                self._end(self._scheduler.all_work(), reason)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._cancelled or self._scheduler.has_work)
            return not self._is_stopping

    def _step(self) -> None:
        with self._changed:
            while self._cancelled:
                self._remove(self._cancelled.pop())
            single = self._scheduler.next_single_step()
            spare_slot = self._scheduler.spare_slot
        if single is not None and spare_slot is not None:
            self._serve_whole(single, spare_slot)
        with self._changed:
            chunk = self._scheduler.next_prefill()
            rows = self._scheduler.decoding
        if chunk is not None:
            self._prefill(chunk)
        if rows:
            self._decode(rows)

    def _prefill(self, chunk: PrefillChunk) -> None:
        sequence = chunk.sequence
        slot = self._slot_of(sequence)
        try:
            logits = self._model.prefill(slot, np.array(chunk.token_ids, np.int64), sequence.num_cached)
        except BackendError as error:
            self._end([sequence], error)
            return
        sequence.num_cached += len(chunk.token_ids)
        if sequence.is_prefilled:
            with self._changed:
                self._scheduler.start_decoding(sequence)
            self._take_tokens([sequence], logits[-1:])

    def _decode(self, rows: tuple[Sequence, ...]) -> None:
        token_ids = np.array([sequence.last_token_id for sequence in rows], np.int64)
        lengths = np.array([sequence.num_cached for sequence in rows], np.int64)
        try:
            logits = self._model.decode(token_ids, lengths)
        except BackendError as error:
            self._end(rows, error)
            return
        for sequence in rows:
            sequence.num_cached += 1
        self._take_tokens(rows, logits)

    def _take_tokens(self, rows: Iterable[Sequence], logits: Floats) -> None:
        rows = list(rows)
        token_ids = sample_rows(logits, [sequence.sampling for sequence in rows])
        finished = [
            sequence for sequence, token_id in zip(rows, token_ids, strict=True) if sequence.append(token_id)
        ]
        with self._changed:
            for sequence in finished:
                self._remove(sequence)

    def _serve_whole(self, work: SingleStep, slot: int) -> None:
        try:
            if isinstance(work, LabelScoring):
                work.emit_scores(self._scores(work, slot))
            else:
                work.emit_vector(self._embedding(work, slot))
        except BackendError as error:
            work.emit_error(error)

    def _scores(self, scoring: LabelScoring, slot: int) -> list[float]:
        for start, chunk in self._chunks(scoring.prompt_ids):
            prompt_logits = self._model.prefill(slot, chunk, start)
        scores = []
        for label_ids in scoring.label_ids:
            logits = prompt_logits
            if len(label_ids) > 1:
                fed = np.array(label_ids[:-1], np.int64)
                num_past = len(scoring.prompt_ids)
                more = self._model.prefill(slot, fed, num_past, num_logits=len(fed))
                logits = np.concatenate([logits, more])
            scores.append(float(log_softmax_at(logits, np.array(label_ids, np.int64)).sum()))
        return scores

    def _embedding(self, embedding: TextEmbedding, slot: int) -> Floats:
        total = sum(
            self._model.hidden_states(slot, chunk, start).sum(axis=0, dtype=np.float64)
            for start, chunk in self._chunks(embedding.prompt_ids)
        )
        return np.asarray(total / len(embedding.prompt_ids), np.float32)

    def _chunks(self, token_ids: list[int]) -> Iterator[tuple[int, Ints]]:
        num_tokens = self._scheduler.prefill_chunk_tokens
        for start in range(0, len(token_ids), num_tokens):
            yield start, np.array(token_ids[start : start + num_tokens], np.int64)

    def _remove(self, work: Work) -> None:
        for move in self._scheduler.remove(work):
            self._copy(move)

    def _copy(self, move: SlotMove) -> None:
        if move.length:
            self._model.copy_slot(move.source, move.target, move.length)

    def _end(self, works: Iterable[Work], error: ServiceError) -> None:
        with self._changed:
            for work in works:
                self._remove(work)
                tell = work.emit if isinstance(work, Sequence) else work.emit_error
                tell(error)

    @staticmethod
    def _slot_of(sequence: Sequence) -> int:
        if sequence.slot is None:
            raise BackendError("a sequence was scheduled without a slot")
        return sequence.slot
