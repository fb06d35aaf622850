"""Chooses the next token of each row from its logits.

Filters apply in the order of ``SamplingParameters``, to all rows at once. Each sampled row keeps its own
random numbers, so that neither its neighbours nor its place in the batch change its answer.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from adapters.onnx.token_mask import AllowedTokens, mask_rows
from domain.generation import SamplingParameters

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CANDIDATE_WEIGHTS = 1e-3, 1e-5, 0.0
"""Tokens at least this likely, next to the likeliest, are sorted: by the first bound that leaves all that the
filters may keep."""
LEAST_TEMPERATURE = 1e-3
"""Below it the likeliest token is all that is left; and a much smaller one is 0 as float32."""
DRAW_BLOCK = 256
"""Weights summed together before one is drawn."""


class RowSampling:
    """How one sequence samples, with its random numbers and the tokens seen so far.

    Args:
        parameters: the request's.
        prompt_ids: tokens that the repetition penalty counts from the start.
        allowed: restricts each choice; None: nothing does.
    """

    def __init__(
        self, parameters: SamplingParameters, prompt_ids: Iterable[int], allowed: AllowedTokens | None = None
    ) -> None:
        self.parameters = parameters
        self.allowed = allowed
        self._random = np.random.default_rng(parameters.seed)
        self._repeats = parameters.repetition_penalty != 1
        self._counts_answer = bool(parameters.presence_penalty or parameters.frequency_penalty)
        self._seen = dict.fromkeys(prompt_ids) if self._repeats else {}
        self._answer_counts: dict[int, int] = {}
        self.is_greedy = parameters.temperature < LEAST_TEMPERATURE
        self.filters = parameters.top_k != 0 or parameters.top_p != 1 or parameters.min_p != 0
        """Whether some tokens are left out by how likely they are."""
        self.adjusts = self._repeats or self._counts_answer
        """Whether the model's logits are not taken as they stand."""

    def adjust(self, logits: Floats) -> None:
        """Apply the penalties to ``logits: float32[vocab]``, in place."""
        if self._repeats and self._seen:
            token_ids = np.fromiter(self._seen, np.int64, len(self._seen))
            seen, penalty = logits[token_ids], np.float32(self.parameters.repetition_penalty)
            logits[token_ids] = np.where(seen > 0, seen / penalty, seen * penalty)
        if self._counts_answer and self._answer_counts:
            num_tokens = len(self._answer_counts)
            token_ids = np.fromiter(self._answer_counts, np.int64, num_tokens)
            counts = np.fromiter(self._answer_counts.values(), np.float32, num_tokens)
            parameters = self.parameters
            logits[token_ids] -= parameters.presence_penalty + parameters.frequency_penalty * counts

    def draw(self) -> float:
        """Return the next random number in [0, 1)."""
        return float(self._random.random())

    def observe(self, token_id: int) -> None:
        """Count a token of the answer for the penalties."""
        if self._repeats:
            self._seen[token_id] = None
        if self._counts_answer:
            self._answer_counts[token_id] = self._answer_counts.get(token_id, 0) + 1


def sample_rows(logits: Floats, rows: Sequence[RowSampling]) -> list[int]:
    """Return the next token id of each row of ``logits: float32[rows, vocab]``; may change them."""
    for index, row in enumerate(rows):
        if row.adjusts:
            row.adjust(logits[index])
    allowed = [row.allowed for row in rows]
    if allowed.count(None) < len(rows):
        mask_rows(logits, allowed, [row.is_greedy for row in rows])
    token_ids = logits.argmax(axis=-1)
    filtering = [index for index, row in enumerate(rows) if not row.is_greedy and row.filters]
    if filtering:
        chosen = [rows[index] for index in filtering]
        candidates, weights = filtered(logits[filtering], [row.parameters for row in chosen])
        places = _drawn_places(weights, chosen)
        token_ids[filtering] = np.take_along_axis(candidates, places[:, np.newaxis], axis=-1)[:, 0]
    free = [index for index, row in enumerate(rows) if not row.is_greedy and not row.filters]
    for index in free:  # a row at a time: its weights stay in the processor's cache
        token_ids[index] = _drawn(logits[index], rows[index])
    return [int(token_id) for token_id in token_ids]


def _drawn_places(weights: Doubles, rows: Sequence[RowSampling]) -> Ints:
    """Draw a place in each row, by its weight."""
    cumulative = np.cumsum(weights, axis=-1)
    drawn = np.array([row.draw() for row in rows]) * cumulative[:, -1]
    num_before = (cumulative <= drawn[:, np.newaxis]).sum(axis=-1)
    return np.asarray(np.minimum(num_before, np.count_nonzero(weights, axis=-1) - 1), np.int64)


def _drawn(logits: Floats, row: RowSampling) -> int:
    """Draw a token from all there are, in order of token id."""
    weights = np.exp((logits - logits.max()) / np.float32(row.parameters.temperature))
    block_sums = np.add.reduceat(weights, np.arange(0, len(weights), DRAW_BLOCK), dtype=np.float64)
    block_ends = np.cumsum(block_sums)
    drawn = min(row.draw() * block_ends[-1], np.nextafter(block_ends[-1], 0))
    block = int(np.searchsorted(block_ends, drawn, side="right"))
    own = weights[block * DRAW_BLOCK : (block + 1) * DRAW_BLOCK]
    inside = drawn - (block_ends[block] - block_sums[block])
    place = int(np.searchsorted(np.cumsum(own, dtype=np.float64), inside, side="right"))
    return block * DRAW_BLOCK + min(place, int(np.flatnonzero(own)[-1]))


def filtered(logits: Floats, parameters: Sequence[SamplingParameters]) -> tuple[Ints, Doubles]:
    """Return the tokens that the filters leave in each row, and their weights.

    Returns:
        ``int64[rows, candidates]``, the likeliest first, and ``float64[rows, candidates]``, not normalised; 0
        for a token that is left out.
    """
    temperature = np.array([p.temperature for p in parameters])[:, np.newaxis]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted / temperature.astype(np.float32))
    totals = weights.sum(axis=-1, dtype=np.float64)
    is_candidate = np.stack([_candidates(*row) for row in zip(weights, totals, parameters, strict=True)])
    token_ids, kept = _sorted_candidates(shifted, temperature, is_candidate)
    return token_ids, _kept(kept, totals, parameters)


def _candidates(weights: Floats, total: float, parameters: SamplingParameters) -> npt.NDArray[np.bool_]:
    """Return which tokens of a row may be kept: a beginning of them, by weight."""
    for least in CANDIDATE_WEIGHTS:
        is_candidate: npt.NDArray[np.bool_] = weights >= least
        if parameters.top_k:
            is_enough = int(np.count_nonzero(is_candidate)) >= parameters.top_k
        else:
            holds_top_p = float(weights[is_candidate].sum(dtype=np.float64)) >= parameters.top_p * total
            is_enough = parameters.min_p >= least > 0 or (parameters.top_p < 1 and holds_top_p)
        if is_enough:
            break
    return is_candidate


def _sorted_candidates(
    shifted: Floats, temperature: Doubles, is_candidate: npt.NDArray[np.bool_]
) -> tuple[Ints, Doubles]:
    """Return the candidates of each row, the likeliest first; short rows are filled up with weight 0."""
    rows, token_ids = np.nonzero(is_candidate)  # ids ascend, so equal weights stay in order of token id
    counts = is_candidate.sum(axis=-1)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(counts), int(counts.max())
    padded_ids, weights = np.zeros(shape, np.int64), np.zeros(shape)
    padded_ids[rows, places] = token_ids
    weights[rows, places] = np.exp(shifted[rows, token_ids] / temperature[rows, 0])
    order = np.argsort(-weights, axis=-1, kind="stable")
    return np.take_along_axis(padded_ids, order, axis=-1), np.take_along_axis(weights, order, axis=-1)


def _kept(weights: Doubles, totals: Doubles, parameters: Sequence[SamplingParameters]) -> Doubles:
    """Set the weights that the filters leave out to 0."""

    def column(values: Iterable[float]) -> Doubles:
        return np.array(list(values), np.float64)[:, np.newaxis]

    num_candidates = weights.shape[1]
    top_k = column(p.top_k or num_candidates for p in parameters)
    kept = np.where(np.arange(num_candidates) < top_k, weights, 0.0)
    # top-k comes first, so top-p is a share of what top-k left; as in transformers
    is_cut = column(bool(p.top_k) for p in parameters) > 0
    reference = np.where(is_cut, kept.sum(axis=-1, keepdims=True), totals[:, np.newaxis])
    top_p = column(p.top_p for p in parameters)
    before = np.cumsum(kept, axis=-1) - kept
    kept = np.where((top_p >= 1) | (before < top_p * reference), kept, 0.0)
    min_p = column(p.min_p for p in parameters)
    return np.where(kept >= min_p * kept[:, :1], kept, 0.0)


def log_softmax_at(logits: Floats, token_ids: Ints) -> Doubles:
    """Return ``log softmax(logits)[i, token_ids[i]]``, in the shape of ``token_ids``.

    Args:
        logits: ``float32[n, vocab]``.
        token_ids: ``int64[n]``, or ``int64[n, k]`` for several of each row.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, token_ids.reshape(len(logits), -1), axis=-1)
    scores = chosen - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(scores.reshape(token_ids.shape), np.float64)
