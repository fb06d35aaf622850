"""The nouns of text generation: how to sample, what comes back chunk by chunk, and what it cost."""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from domain.constraints import OutputConstraint

MAX_ANSWER_TOKENS = 1_000_000
MAX_TOP_K = 1_000_000
MAX_STOP_SEQUENCES = 16
MAX_TOP_LOGPROBS = 20
MIN_REPETITION_PENALTY = 0.01

StopSequence = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""For strict whole numbers: JSON does not tell 4.0 from 4."""


class SamplingParameters(BaseModel):
    """How the next token is chosen, and when to stop.

    Filters apply in this order, as in Hugging Face transformers: repetition penalty (Keskar et al. 2019),
    OpenAI's penalties, the constraint, temperature, top-k, top-p (Holtzman et al. 2019), min-p (Nguyen et
    al. 2024).
    Values left out are the service's defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_tokens: Annotated[int, Field(ge=1, le=MAX_ANSWER_TOKENS, strict=True), WHOLE] | None = Field(
        default=None, description="tokens to generate at most; absent: the service's default"
    )
    temperature: Annotated[float, Field(ge=0, le=10, strict=True)] = Field(
        default=0.0, description="0, and what is less than a thousandth, is greedy"
    )
    top_k: Annotated[int, Field(ge=0, le=MAX_TOP_K, strict=True), WHOLE] = Field(
        default=0, description="0 switches it off"
    )
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] = Field(
        default=1.0, description="1 switches it off"
    )
    min_p: Annotated[float, Field(ge=0, le=1, strict=True)] = Field(
        default=0.0, description="0 switches it off"
    )
    repetition_penalty: Annotated[float, Field(ge=MIN_REPETITION_PENALTY, le=10, strict=True)] = Field(
        default=1.0, description="over prompt and answer; 1 switches it off"
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2, strict=True)] = Field(
        default=0.0, description="taken from the logit of each token of the answer so far"
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, strict=True)] = Field(
        default=0.0, description="the same, times how often the token stands there"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True), WHOLE] | None = Field(
        default=None, description="the same seed repeats a sampled answer; absent: a fresh one"
    )
    stop: Annotated[tuple[StopSequence, ...], Field(fail_fast=True)] = Field(
        default=(),
        max_length=MAX_STOP_SEQUENCES,
        description="the answer ends before the first of these strings",
    )
    ignore_eos: bool = Field(
        default=False, strict=True, description="go on past the model's own end, up to max_tokens"
    )
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS, strict=True), WHOLE] | None = Field(
        default=None,
        description="report the log probability of each token, and of this many likeliest; absent: none",
    )
    constraint: OutputConstraint | None = Field(default=None, description="a form that the answer must have")

    def overridden_by(self, others: "SamplingParameters | None") -> "SamplingParameters":
        """Return these parameters with the ones that were set in ``others`` in their place."""
        if others is None:
            return self
        return self.model_copy(update={name: getattr(others, name) for name in others.model_fields_set})

    def capped(self, max_tokens: int | None) -> "SamplingParameters":
        """Return these parameters for an answer of ``max_tokens`` at most; None: as they are."""
        if max_tokens is None or (self.max_tokens is not None and self.max_tokens <= max_tokens):
            return self
        return self.model_copy(update={"max_tokens": max_tokens})


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    """The model ended its turn, or a stop sequence appeared."""
    LENGTH = "length"
    """``max_tokens`` or the context was used up."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    num_cached_prompt_tokens: int = field(default=0, compare=False)
    """Of the prompt's, those that were not computed again."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.num_prompt_tokens + other.num_prompt_tokens,
            self.num_completion_tokens + other.num_completion_tokens,
            self.num_cached_prompt_tokens + other.num_cached_prompt_tokens,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the answer, and how likely it was: of the model's own distribution, before any filter."""

    token: str
    """Its text alone; with U+FFFD where it is part of a character."""
    token_bytes: bytes
    logprob: float
    """Natural logarithm."""
    alternatives: tuple["TokenLogprob", ...] = ()
    """The likeliest tokens in its place, the likeliest first."""


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """A piece of the answer.

    The last chunk of a stream, and only the last, carries ``finish_reason`` and ``usage``; its text may be
    empty.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    """Where they were asked for: of the tokens since the chunk before; a token's text may come later."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How likely the model finds each of some given answers.

    ``log_probabilities[label]`` is the natural logarithm of the probability of the label's tokens after the
    prompt: the sum over its tokens of log softmax(logits). The labels need not be all there is to say, so
    the probabilities do not add up to 1.
    """

    log_probabilities: dict[str, float]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Embedding:
    """A text as a vector of reals; how the backend pools its tokens is its own affair."""

    vector: tuple[float, ...]
    usage: Usage


class Capability(Enum):
    """What a backend can do beyond generating text; a workflow declares what it requires."""

    LABEL_SCORES = "label scores"
    EMBEDDINGS = "embeddings"
    LOGPROBS = "log probabilities of tokens"
    CONSTRAINTS = "constrained output"
    TEXT_PROMPTS = "prompts without a chat template"
    PROOFS = "proofs"
    """Of the service rather than the backend: a circuit is configured."""
    DECISION_HEAD = "a decision head"
    """Of the service likewise: a head is configured."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The model behind a backend, as far as the backend knows it."""

    model_id: str
    context_length: int | None = None
    """Tokens of prompt and answer together; None when the backend does not tell."""
    provider: str | None = None
    """Where it really runs, e.g. ``CUDAExecutionProvider``; None when remote."""
    fingerprint: str | None = ""
    """Of what its answers depend on besides its name: another has another; None until ``ping`` succeeds."""
