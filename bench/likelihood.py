"""How likely an fp32 model finds what a server answered, and whether two answers parted at a near-tie.

Teacher-forced: the model is fed the answer's tokens, and each is scored given those before it. Only figures
for the same questions compare.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
from bench.prompt_sets import Conversation
from bench.targets import MAX_CONTEXT_TOKENS

from adapters.onnx.chat_template import read_chat_template
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.sampler import log_softmax_at
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer
from adapters.processors import num_processors
from domain.messages import ChatMessage, Role

NEAR_TIE = 1e-2
"""Logits closer than this may come out in either order."""


class Judge:
    """Reads answers with a model folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = Tokenizer(folder)
        self._template = read_chat_template(folder)
        self._session = OnnxSession(
            read_model_folder(folder),
            ProviderChoice.CPU,
            num_threads=num_processors(),
            num_slots=1,
            max_length=MAX_CONTEXT_TOKENS,
        )

    def negative_log_likelihood(self, asked: list[Conversation], answers: list[str]) -> float:
        """Return the mean over all tokens of the answers, in nats."""
        scores: list[float] = []
        for messages, answer in zip(asked, answers, strict=True):
            prompt_ids = self._prompt_ids(messages)
            logits = self._read(prompt_ids)
            for num_read, token_id in enumerate(self._tokenizer.encode(answer)):
                scores.append(float(log_softmax_at(logits, np.array([token_id], np.int64))[0]))
                logits = self._append(token_id, len(prompt_ids) + num_read)
        return -float(np.mean(scores))

    def parting_gap(self, messages: Conversation, answer: str, other: str) -> float | None:
        """Return how far apart the model holds the tokens at which two answers part.

        The distance is from the logit of the likeliest token to that of the less likely of the two. None
        where one answer begins with the other.
        """
        first, second = self._tokenizer.encode(answer), self._tokenizer.encode(other)
        parting = next(
            (i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None
        )
        if parting is None:
            return None
        logits = self._read([*self._prompt_ids(messages), *first[:parting]])[0]
        return float(logits.max() - min(logits[first[parting]], logits[second[parting]]))

    def _prompt_ids(self, messages: Conversation) -> list[int]:
        text = self._template.render(
            [ChatMessage(cast(Role, turn["role"]), turn["content"]) for turn in messages]
        )
        return self._tokenizer.encode(text)

    def _read(self, token_ids: list[int]) -> Any:
        return self._session.prefill(0, np.array(token_ids, np.int64), 0)[-1:]

    def _append(self, token_id: int, num_past: int) -> Any:
        return self._session.decode(np.array([token_id], np.int64), np.array([num_past], np.int64))
