"""How well a model folder predicts two fixed texts: the figure that tells what a precision costs.

Teacher-forced: the model reads the whole text in one pass, and each token is scored given those before it.
Perplexity is ``exp`` of the mean negative log probability; lower is better, and only figures for the same
texts compare. The texts: the beginning of Alice's Adventures in Wonderland (public domain) and of the Apache
License.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.sampler import Floats, Ints, log_softmax_at
from adapters.onnx.session import OnnxSession
from adapters.onnx.tokenizer import Tokenizer

TEXTS_FOLDER = Path(__file__).parent / "evaluation_texts"
MAX_TOKENS = 1500
"""Of each text, where the model's context holds as many."""
CHUNK_TOKENS = 250


@dataclass(frozen=True, slots=True)
class TextPerplexity:
    """A model's perplexity on one text."""

    name: str
    num_tokens: int
    perplexity: float


@dataclass(frozen=True, slots=True)
class PerplexityComparison:
    """A model beside a reference on one text."""

    name: str
    num_tokens: int
    perplexity: float
    reference_perplexity: float
    top1_agreement: float
    """Share of positions where both find the same token most likely."""


def measure_perplexity(folder: Path, num_threads: int = 0) -> list[TextPerplexity]:
    """Return a model folder's perplexity on each of the fixed texts.

    Raises:
        ConfigurationError: the folder cannot be loaded.
    """
    return [
        TextPerplexity(name, len(token_ids), _perplexity(scores))
        for name, token_ids, scores, _ in _readings(folder, num_threads)
    ]


def compare(folder: Path, reference: Path, num_threads: int = 0) -> list[PerplexityComparison]:
    """Return a model folder's perplexity beside that of a reference with the same tokenizer.

    Raises:
        ConfigurationError: a folder cannot be loaded.
    """
    return [
        PerplexityComparison(
            name,
            len(token_ids),
            _perplexity(scores),
            _perplexity(reference_scores),
            float(np.mean(best == reference_best)),
        )
        for (name, token_ids, scores, best), (_, _, reference_scores, reference_best) in zip(
            _readings(folder, num_threads), _readings(reference, num_threads), strict=True
        )
    ]


def _readings(folder: Path, num_threads: int) -> Iterator[tuple[str, Ints, Floats, Ints]]:
    """Yield each text's name, tokens, log probabilities and most likely tokens (both one shorter)."""
    model = read_model_folder(folder)
    tokenizer = Tokenizer(folder)
    max_tokens = min(MAX_TOKENS, model.context_length)
    session = OnnxSession(
        model,
        ProviderChoice.AUTO,
        num_threads=num_threads,
        num_slots=1,
        max_length=max_tokens,
    )
    for file in sorted(TEXTS_FOLDER.glob("*.txt")):
        token_ids = np.array(tokenizer.encode(file.read_text(encoding="utf-8"))[:max_tokens], np.int64)
        scores, best = [], []
        for start in range(0, len(token_ids) - 1, CHUNK_TOKENS):
            fed = token_ids[start : min(start + CHUNK_TOKENS, len(token_ids) - 1)]
            logits = session.prefill(0, fed, start, num_logits=len(fed))
            scores.append(log_softmax_at(logits, token_ids[start + 1 : start + 1 + len(fed)]))
            best.append(logits.argmax(axis=-1))
        yield file.stem, token_ids, np.concatenate(scores).astype(np.float32), np.concatenate(best)


def _perplexity(scores: Floats) -> float:
    return math.exp(-float(np.mean(scores, dtype=np.float64)))
