"""Answers as OpenAI's API gives them, whole and chunk by chunk."""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from domain.choices import Choice, ChoiceChunk
from domain.generation import FinishReason, TokenLogprob, Usage

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON has not; as in vLLM and OpenAI."""


class AnswerForm(ABC):
    """The answer to one request: its id, and how its parts look."""

    id_prefix: ClassVar[str]
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, model_id: str) -> None:
        self._head = {
            "id": f"{self.id_prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model_id,
            "system_fingerprint": None,
        }
        self._chunk_head = json.dumps({**self._head, "object": self.chunk_object}).removesuffix("}")

    def whole(self, choices: Sequence[Choice], num_choices: int) -> dict[str, Any]:
        """Return an answer that is no stream.

        Args:
            choices: all answers.
            num_choices: how many of them there are to each prompt.
        """
        return {
            **self._head,
            "object": self.whole_object,
            "choices": [self._whole_choice(index, choice) for index, choice in enumerate(choices)],
            "usage": usage_content(
                total_usage({i: choice.usage for i, choice in enumerate(choices)}, num_choices)
            ),
        }

    def chunk(self, choices: Sequence[dict[str, Any]], **fields: Any) -> str:
        """Return one chunk of a stream as JSON."""
        own = json.dumps({"choices": choices, **fields}).removeprefix("{")
        return f"{self._chunk_head}, {own}"

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any] | None:
        """Return what stands in a stream before the first piece of a choice."""

    @abstractmethod
    def piece(self, piece: ChoiceChunk) -> dict[str, Any]:
        """Return a piece of a choice in a stream."""

    @abstractmethod
    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]: ...


class ChatForm(AnswerForm):
    """The form of chat completions."""

    id_prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any] | None:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, piece: ChoiceChunk) -> dict[str, Any]:
        chunk = piece.chunk
        return {
            "index": piece.index,
            "delta": {"content": chunk.text} if chunk.text or chunk.finish_reason is None else {},
            "logprobs": _chat_logprobs(chunk.logprobs),
            "finish_reason": chunk.finish_reason,
        }

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": _chat_logprobs(choice.logprobs),
            "finish_reason": choice.finish_reason,
        }


class CompletionForm(AnswerForm):
    """The form of completions; offsets of tokens count from the start of the answer."""

    id_prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self._offsets: dict[int, int] = {}

    def opening(self, index: int) -> dict[str, Any] | None:  # noqa: ARG002 - nothing stands there
        return None

    def piece(self, piece: ChoiceChunk) -> dict[str, Any]:
        return self._choice(piece.index, piece.chunk.text, piece.chunk.finish_reason, piece.chunk.logprobs)

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        return self._choice(index, choice.text, choice.finish_reason, choice.logprobs)

    def _choice(
        self, index: int, text: str, finish_reason: FinishReason | None, logprobs: Sequence[TokenLogprob]
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, logprobs),
            "finish_reason": finish_reason,
        }

    def _logprobs(self, index: int, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        offset = self._offsets.get(index, 0)
        offsets = []
        for logprob in logprobs:
            offsets.append(offset)
            offset += len(logprob.token)
        self._offsets[index] = offset
        return {
            "tokens": [logprob.token for logprob in logprobs],
            "token_logprobs": [_finite(logprob.logprob) for logprob in logprobs],
            "top_logprobs": [_by_text(logprob) for logprob in logprobs],
            "text_offset": offsets,
        }


def _by_text(logprob: TokenLogprob) -> dict[str, float]:
    """Return the likeliest tokens and the chosen one; of two that read alike the likelier."""
    by_text: dict[str, float] = {}
    for one in sorted((logprob, *logprob.alternatives), key=lambda one: -one.logprob):
        by_text.setdefault(one.token, _finite(one.logprob))
    return by_text


def total_usage(usages: Mapping[int, Usage], num_choices: int) -> Usage:
    """Return the tokens of all answers, each prompt counted once.

    Args:
        usages: of each answer, by its index.
        num_choices: how many answers there are to each prompt.
    """
    total = Usage()
    for index, usage in usages.items():
        if index % num_choices:
            total += Usage(0, usage.num_completion_tokens)
        else:
            total += usage
    return total


def usage_content(usage: Usage) -> dict[str, Any]:
    """Return tokens read and written."""
    return {
        "prompt_tokens": usage.num_prompt_tokens,
        "completion_tokens": usage.num_completion_tokens,
        "total_tokens": usage.num_prompt_tokens + usage.num_completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.num_cached_prompt_tokens},
    }


def _chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    content = [
        {**_token(logprob), "top_logprobs": [_token(other) for other in logprob.alternatives]}
        for logprob in logprobs
    ]
    return {"content": content, "refusal": None}


def _token(logprob: TokenLogprob) -> dict[str, Any]:
    return {
        "token": logprob.token,
        "logprob": _finite(logprob.logprob),
        "bytes": list(logprob.token_bytes),
    }


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST_LOGPROB)
