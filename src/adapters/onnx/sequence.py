"""One request inside the engine: its tokens, where it stands, and whom to tell.

Every request is prefilled, chunk by chunk. Then a ``Sequence`` decodes its answer, a ``LabelScoring`` reads
its labels one after the other, and a ``TextEmbedding`` is done; the scheduler moves them on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from adapters.onnx.prompt_lookup import PromptLookup
from adapters.onnx.sampler import Floats, Ints, RowSampling, log_softmax_at
from adapters.onnx.token_mask import AllowedTokens
from adapters.onnx.tokenizer import Detokenizer
from domain.errors import BackendError, ServiceError
from domain.generation import FinishReason, TokenChunk, TokenLogprob, Usage
from domain.stop_sequences import StopSequenceFilter

MAX_LABEL_CHUNK_TOKENS = 32
"""Of a label: the logits of each are wanted, which take 0.6 MB for a vocabulary of 49,152."""

Event: TypeAlias = TokenChunk | ServiceError
"""What the engine tells a request; a chunk with a finish reason, or an error, is the last."""


class Constraint(AllowedTokens, Protocol):
    """The form of an answer, as far as it has come."""

    def accept(self, token_ids: list[int]) -> None:
        """Take the next tokens of the answer, what ends it among them.

        Raises:
            InvalidRequestError: the form cannot be followed any further.
        """
        ...

    def forced(self) -> list[int]:
        """Return the tokens that must come next, which nobody need sample; often none."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        ...


@dataclass(eq=False, slots=True, kw_only=True)
class Work:
    """What every request has.

    Args:
        prompt_ids: one or more token ids.
        emit_error: told, in the engine's thread, when it failed; must not block.
        priority: lower goes first.
    """

    prompt_ids: list[int]
    emit_error: Callable[[ServiceError], None]
    priority: int = 0
    num_cached: int = 0
    """Tokens whose keys and values lie in the slot."""
    num_reused: int = 0
    """Of the prompt's tokens, those that another request had computed."""
    slot: int | None = None
    submitted_s: float = 0.0
    """Of the engine's monotonic clock, as the two below."""
    started_s: float | None = None
    """When its prompt began to be read."""

    @property
    def held_slot(self) -> int:
        """Its slot, which the scheduler has given to it.

        Raises:
            BackendError: it has not.
        """
        if self.slot is None:
            raise BackendError("a request was scheduled without a slot")
        return self.slot

    @property
    def is_prefilled(self) -> bool:
        """Whether the whole prompt, and what is forced behind it, is in the KV cache."""
        return self.num_cached >= self.num_tokens

    @property
    def ids_behind(self) -> list[int]:
        """The tokens that follow the prompt, as far as there are any."""
        return []

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.ids_behind)

    @property
    def num_unread(self) -> int:
        """Tokens to read next, at most in one pass."""
        return self.num_tokens - self.num_cached

    @property
    def is_at_prompt(self) -> bool:
        """Whether it reads its prompt as any other does.

        Others may use the keys and values of that, and it needs no logits but those behind its last token.
        """
        return True

    def num_logits(self, num_tokens: int) -> int:
        """Return how many of the next tokens' logits it needs, the last ones'."""
        return int(num_tokens == self.num_unread)

    def token_ids(self, start: int, end: int) -> list[int]:
        """Return the tokens from ``start`` to ``end``, at most those that are there."""
        offset = len(self.prompt_ids)
        return self.prompt_ids[start:end] + self.ids_behind[max(0, start - offset) : max(0, end - offset)]

    def token_id(self, place: int) -> int:
        """Return one of the tokens."""
        offset = len(self.prompt_ids)
        return self.prompt_ids[place] if place < offset else self.ids_behind[place - offset]

    def unread(self, num_tokens: int) -> Ints:
        """Return its next tokens that are not in the KV cache, at most ``int64[num_tokens]``."""
        return np.array(self.token_ids(self.num_cached, self.num_cached + num_tokens), np.int64)


@dataclass(eq=False, slots=True, kw_only=True)
class Sequence(Work):
    """A prompt on its way to an answer.

    Args:
        max_tokens: tokens to generate at most; the context has room for them.
        eos_token_ids: tokens that end the answer.
        sampling: how to choose tokens.
        detokenizer: for this answer alone.
        stop: cuts the answer at stop sequences.
        emit: told of each event, in the engine's thread; must not block.
        constraint: the form of the answer; None: any.
        lookup: guesses the answer from the prompt; None: it is not tried.
    """

    max_tokens: int
    eos_token_ids: frozenset[int]
    sampling: RowSampling
    detokenizer: Detokenizer
    stop: StopSequenceFilter
    emit: Callable[[Event], None]
    constraint: Constraint | None = None
    lookup: PromptLookup | None = None
    output_ids: list[int] = field(default_factory=list)
    first_token_s: float | None = None

    @property
    def ids_behind(self) -> list[int]:
        return self.output_ids

    @property
    def wants_logprobs(self) -> bool:
        return self.sampling.parameters.top_logprobs is not None

    @property
    def usage(self) -> Usage:
        return Usage(len(self.prompt_ids), len(self.output_ids), self.num_reused)

    def append(self, token_id: int, logprob: TokenLogprob | None = None) -> bool:
        """Take the next token of the answer, and those that its form forces behind it; tell of their text.

        Returns:
            True when the answer is complete.

        Raises:
            ServiceError: its form cannot be followed any further.
        """
        return self._append(token_id, logprob) or self.append_forced()

    def append_forced(self) -> bool:
        """Take the tokens that the answer's form forces next, if any; otherwise as ``append``.

        Where log probabilities are asked for, each token is sampled: the model is to say how likely it was.
        """
        if self.constraint is None or self.wants_logprobs:
            return False
        return any(self._append(token_id, None) for token_id in self.constraint.forced())

    def _append(self, token_id: int, logprob: TokenLogprob | None) -> bool:
        self.output_ids.append(token_id)
        if token_id in self.eos_token_ids:
            if self.constraint is not None:
                self.constraint.accept([token_id])  # where the form broke, nothing else was left to sample
            self.emit(TokenChunk(self.stop.flush(), FinishReason.STOP, self.usage))
            return True
        self.sampling.observe(token_id)
        if self.lookup is not None:
            self.lookup.observe(token_id)
        is_formed = False
        if self.constraint is not None:
            self.constraint.accept([token_id])
            is_formed = self.constraint.is_complete
        logprobs = () if logprob is None else (logprob,)
        text = self.stop.feed(self.detokenizer.step(token_id))
        if self.stop.has_stopped:
            self.emit(TokenChunk(text, FinishReason.STOP, self.usage, logprobs))
            return True
        if is_formed or len(self.output_ids) >= self.max_tokens:
            reason = FinishReason.STOP if is_formed else FinishReason.LENGTH
            self.emit(TokenChunk(text + self.stop.flush(), reason, self.usage, logprobs))
            return True
        if text or logprobs:
            self.emit(TokenChunk(text, logprobs=logprobs))
        return False


@dataclass(eq=False, slots=True, kw_only=True)
class LabelScoring(Work):
    """A prompt whose given continuations are scored.

    Args:
        label_ids: the tokens of each label, one or more.
        emit_scores: told the log probability of each label, in order, in the engine's thread.
    """

    label_ids: list[list[int]]
    emit_scores: Callable[[list[float]], None]
    scores: list[float] = field(default_factory=list)
    """Of each label, the log probability of its tokens so far."""
    label: int | None = None
    """Whose tokens are read behind the prompt, all but its last; None: nobody's yet."""

    @property
    def ids_behind(self) -> list[int]:
        return [] if self.label is None else self.label_ids[self.label][:-1]

    @property
    def num_unread(self) -> int:
        num_left = self.num_tokens - self.num_cached
        return num_left if self.is_at_prompt else min(num_left, MAX_LABEL_CHUNK_TOKENS)

    @property
    def is_at_prompt(self) -> bool:
        return self.label is None

    def num_logits(self, num_tokens: int) -> int:
        # the zero-argument super() does not work in a dataclass with slots
        return Work.num_logits(self, num_tokens) if self.is_at_prompt else num_tokens

    def take(self, logits: Floats) -> bool:
        """Take the logits of what was read, ``float32[num_logits, vocab]``; returns whether that was all."""
        if self.label is None:
            first_ids = np.array([[token_ids[0] for token_ids in self.label_ids]], np.int64)
            self.scores = log_softmax_at(logits, first_ids)[0].tolist()
        else:
            end = self.num_cached - len(self.prompt_ids)
            next_ids = self.label_ids[self.label][end - len(logits) + 1 : end + 1]
            self.scores[self.label] += float(log_softmax_at(logits, np.array(next_ids, np.int64)).sum())
            if not self.is_prefilled:
                return False
        following = range(0 if self.label is None else self.label + 1, len(self.label_ids))
        self.label = next((label for label in following if len(self.label_ids[label]) > 1), None)
        self.num_cached = len(self.prompt_ids)
        return self.label is None


@dataclass(eq=False, slots=True, kw_only=True)
class TextEmbedding(Work):
    """A text whose embedding is asked for: the mean of its tokens' hidden states.

    Args:
        emit_vector: told ``float32[hidden]``, in the engine's thread.
    """

    emit_vector: Callable[[Floats], None]
    hidden_sum: npt.NDArray[np.float64] | None = None

    @property
    def is_at_prompt(self) -> bool:
        return False

    def add(self, hidden_states: Floats) -> None:
        """Take the hidden states of a chunk, ``float32[n, hidden]``."""
        total = hidden_states.sum(axis=0, dtype=np.float64)
        self.hidden_sum = total if self.hidden_sum is None else self.hidden_sum + total

    def finish(self) -> None:
        """Tell of the mean, once the whole text was read."""
        if self.hidden_sum is not None:
            self.emit_vector(np.asarray(self.hidden_sum / len(self.prompt_ids), np.float32))
