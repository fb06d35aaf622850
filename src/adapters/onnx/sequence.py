"""One request inside the engine: its tokens, where it stands, and whom to tell.

A ``Sequence`` goes ``waiting → prefilling → decoding → finished``; the scheduler moves it on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from adapters.onnx.sampler import Floats, RowSampling
from adapters.onnx.tokenizer import Detokenizer
from domain.errors import ServiceError
from domain.generation import FinishReason, TokenChunk, Usage
from domain.stop_sequences import StopSequenceFilter

Event: TypeAlias = TokenChunk | ServiceError
"""What the engine tells a request; a chunk with a finish reason, or an error, is the last."""


@dataclass(eq=False, slots=True)
class Sequence:
    """A prompt on its way to an answer.

    Args:
        prompt_ids: one or more token ids.
        max_tokens: tokens to generate at most; the context has room for them.
        eos_token_ids: tokens that end the answer.
        sampling: how to choose tokens.
        detokenizer: for this answer alone.
        stop: cuts the answer at stop sequences.
        emit: told of each event, in the engine's thread; must not block.
    """

    prompt_ids: list[int]
    max_tokens: int
    eos_token_ids: frozenset[int]
    sampling: RowSampling
    detokenizer: Detokenizer
    stop: StopSequenceFilter
    emit: Callable[[Event], None]
    output_ids: list[int] = field(default_factory=list)
    num_cached: int = 0
    """Tokens whose keys and values lie in the slot."""
    slot: int | None = None
    is_cancelled: bool = False

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_ids)

    @property
    def is_prefilled(self) -> bool:
        """Whether the whole prompt is in the KV cache."""
        return self.num_cached >= len(self.prompt_ids)

    @property
    def last_token_id(self) -> int:
        """The token that the next decode step feeds."""
        return self.output_ids[-1]

    @property
    def usage(self) -> Usage:
        return Usage(len(self.prompt_ids), len(self.output_ids))

    def append(self, token_id: int) -> bool:
        """Take the next token of the answer and tell of its text.

        Returns:
            True when the answer is complete.
        """
        self.output_ids.append(token_id)
        if token_id in self.eos_token_ids:
            self.emit(TokenChunk(self.stop.flush(), FinishReason.STOP, self.usage))
            return True
        self.sampling.observe(token_id)
        text = self.stop.feed(self.detokenizer.step(token_id))
        if self.stop.has_stopped:
            self.emit(TokenChunk(text, FinishReason.STOP, self.usage))
            return True
        if len(self.output_ids) >= self.max_tokens:
            self.emit(TokenChunk(text + self.stop.flush(), FinishReason.LENGTH, self.usage))
            return True
        if text:
            self.emit(TokenChunk(text))
        return False


@dataclass(eq=False, slots=True)
class LabelScoring:
    """A prompt whose given continuations are scored; it is served whole, in one step.

    Args:
        prompt_ids: one or more token ids.
        label_ids: the tokens of each label, one or more.
        emit_scores: told the log probability of each label, in order, in the engine's thread.
        emit_error: told instead when it failed.
    """

    prompt_ids: list[int]
    label_ids: list[list[int]]
    emit_scores: Callable[[list[float]], None]
    emit_error: Callable[[ServiceError], None]
    is_cancelled: bool = False


@dataclass(eq=False, slots=True)
class TextEmbedding:
    """A text whose embedding is asked for: the mean of its tokens' hidden states; served whole, in one step.

    Args:
        prompt_ids: one or more token ids.
        emit_vector: told ``float32[hidden]``, in the engine's thread.
        emit_error: told instead when it failed.
    """

    prompt_ids: list[int]
    emit_vector: Callable[[Floats], None]
    emit_error: Callable[[ServiceError], None]
    is_cancelled: bool = False


SingleStep: TypeAlias = LabelScoring | TextEmbedding
"""Work that is served whole, in one step."""

Work: TypeAlias = Sequence | SingleStep
