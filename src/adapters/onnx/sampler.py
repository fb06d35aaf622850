"""Chooses the next token of each row from its logits.

Filters apply in the order of ``SamplingParameters``. Greedy rows are one argmax over the batch; a sampled row
keeps its own random numbers, so that neither its neighbours nor its place in the batch change its answer.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from domain.generation import SamplingParameters

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NUM_CANDIDATES = 1024
"""Tokens sorted at first for top-p; all of them only where these do not hold enough of the probability."""


class RowSampling:
    """How one sequence samples, with its random numbers and the tokens seen so far.

    Args:
        parameters: the request's.
        prompt_ids: tokens that the repetition penalty counts from the start.
    """

    def __init__(self, parameters: SamplingParameters, prompt_ids: Iterable[int]) -> None:
        self.parameters = parameters
        self._random = np.random.default_rng(parameters.seed)
        self._penalised = sorted(set(prompt_ids)) if parameters.repetition_penalty != 1 else []
        self._penalised_set = set(self._penalised)

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the most likely token is taken as it stands."""
        return self.parameters.temperature == 0 and self.parameters.repetition_penalty == 1

    def sample(self, logits: Floats) -> int:
        """Return the next token id for ``logits: float32[vocab]``; does not change them."""
        parameters = self.parameters
        if parameters.repetition_penalty != 1:
            logits = self._with_penalty(logits)
        if parameters.temperature == 0:
            return int(logits.argmax())
        token_ids, probabilities = filtered(logits, parameters)
        cumulative = np.cumsum(probabilities)
        drawn = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(token_ids[min(int(drawn), len(token_ids) - 1)])

    def observe(self, token_id: int) -> None:
        """Count a token of the answer for the repetition penalty."""
        if self.parameters.repetition_penalty != 1 and token_id not in self._penalised_set:
            self._penalised_set.add(token_id)
            self._penalised.append(token_id)

    def _with_penalty(self, logits: Floats) -> Floats:
        penalised = logits.copy()
        seen = penalised[self._penalised]
        penalty = np.float32(self.parameters.repetition_penalty)
        penalised[self._penalised] = np.where(seen > 0, seen / penalty, seen * penalty)
        return penalised


def sample_rows(logits: Floats, rows: Sequence[RowSampling]) -> list[int]:
    """Return the next token id of each row of ``logits: float32[rows, vocab]``."""
    greedy = logits.argmax(axis=-1)
    return [
        int(greedy[index]) if row.is_plain_greedy else row.sample(logits[index])
        for index, row in enumerate(rows)
    ]


def filtered(logits: Floats, parameters: SamplingParameters) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Return the tokens that the filters leave and their weights (not normalised).

    Most likely first, unless no filter is on.
    """
    scaled = (logits.astype(np.float64) - float(logits.max())) / parameters.temperature
    weights = np.exp(scaled)
    if parameters.top_k == 0 and parameters.top_p == 1 and parameters.min_p == 0:
        return np.arange(len(weights)), weights
    total = weights.sum()
    num_wanted = min(parameters.top_k or len(weights), len(weights))
    token_ids = _most_likely(weights, min(num_wanted, NUM_CANDIDATES))
    if num_wanted > NUM_CANDIDATES and not _holds_enough(weights[token_ids], total, parameters):
        token_ids = _most_likely(weights, num_wanted)
    kept = weights[token_ids]
    if parameters.top_p < 1:
        # top-k comes first, so top-p is a share of what top-k left; as in transformers
        reference = kept.sum() if parameters.top_k else total
        num_kept = int(np.searchsorted(np.cumsum(kept), parameters.top_p * reference, side="left")) + 1
        token_ids, kept = token_ids[:num_kept], kept[:num_kept]
    if parameters.min_p > 0:
        num_kept = int(np.count_nonzero(kept >= parameters.min_p * kept[0]))
        token_ids, kept = token_ids[:num_kept], kept[:num_kept]
    return token_ids, kept


def _holds_enough(candidates: npt.NDArray[np.float64], total: float, parameters: SamplingParameters) -> bool:
    """Whether the filters would keep nothing beyond the candidates."""
    if parameters.min_p > 0 and candidates[-1] < parameters.min_p * candidates[0]:
        return True
    return parameters.top_k == 0 and parameters.top_p < 1 and candidates.sum() >= parameters.top_p * total


def _most_likely(weights: npt.NDArray[np.float64], count: int) -> Ints:
    everything = count >= len(weights)
    token_ids = np.arange(len(weights)) if everything else np.argpartition(weights, -count)[-count:]
    # equal weights in order of token id, so that the same seed always draws the same token
    return token_ids[np.lexsort((token_ids, -weights[token_ids]))].astype(np.int64)


def log_softmax_at(logits: Floats, token_ids: Ints) -> npt.NDArray[np.float64]:
    """Return ``log softmax(logits)[i, token_ids[i]]`` for ``logits: float32[n, vocab]``."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, token_ids[:, np.newaxis], axis=-1)[:, 0]
    return np.asarray(chosen - np.log(np.exp(shifted).sum(axis=-1)), np.float64)
