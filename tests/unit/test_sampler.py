"""Sampling against a plain reading of each filter's definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.onnx.sampler import Floats, RowSampling, filtered, log_softmax_at, sample_rows
from domain.generation import SamplingParameters


def random_logits(size: int = 200, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def chosen(row: RowSampling, logits: Floats) -> int:
    return sample_rows(logits[np.newaxis].copy(), [row])[0]


def plain_distribution(logits: Floats, parameters: SamplingParameters) -> dict[int, float]:
    """The filters one after the other, each on the renormalised rest, as transformers applies them."""
    scaled = logits.astype(np.float64) / parameters.temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    order = [int(i) for i in np.lexsort((np.arange(len(logits)), -probabilities))]
    if parameters.top_k:
        order = order[: parameters.top_k]
    rest = probabilities[order] / probabilities[order].sum()
    if parameters.top_p < 1:
        num_kept = next(n for n in range(1, len(order) + 1) if rest[:n].sum() >= parameters.top_p - 1e-12)
        order, rest = order[:num_kept], rest[:num_kept]
    if parameters.min_p:
        kept = [i for i in range(len(order)) if rest[i] >= parameters.min_p * rest[0] - 1e-15]
        order, rest = [order[i] for i in kept], rest[kept]
    return dict(zip(order, rest / rest.sum(), strict=True))


@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 5, 50, 5000]),
    top_p=st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.9]),
)
def test_the_filters_leave_what_their_definitions_say(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    parameters = SamplingParameters(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = random_logits(seed=seed)

    (token_ids,), (weights,) = filtered(logits[np.newaxis], [parameters])

    token_ids, weights = token_ids[weights > 0], weights[weights > 0]
    kept = dict(zip(token_ids.tolist(), weights / weights.sum(), strict=True))
    assert kept == pytest.approx(plain_distribution(logits, parameters))


@pytest.mark.parametrize("top_p", [0.3, 0.9, 0.999])
def test_a_vocabulary_larger_than_the_candidates_gives_the_same(top_p: float) -> None:
    parameters = SamplingParameters(temperature=2.0, top_p=top_p)
    logits = np.random.default_rng(5).normal(0, 0.5, 20_000).astype(np.float32)

    (token_ids,), (weights,) = filtered(logits[np.newaxis], [parameters])

    assert set(token_ids[weights > 0].tolist()) == set(plain_distribution(logits, parameters))


def test_greedy_takes_the_first_of_the_most_likely() -> None:
    logits = np.array([0, 3, 3, 1], np.float32)

    assert chosen(RowSampling(SamplingParameters(), []), logits) == 1


def test_a_seed_repeats_an_answer_and_another_seed_does_not() -> None:
    def draw(seed: int) -> list[int]:
        row = RowSampling(SamplingParameters(temperature=1.5, seed=seed), [])
        return [chosen(row, random_logits()) for _ in range(30)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_neighbours_in_the_batch_change_nothing() -> None:
    def row() -> RowSampling:
        return RowSampling(SamplingParameters(temperature=1.0, seed=9), [])

    alone = row()
    among_others = row()
    logits = [random_logits(seed=i) for i in range(20)]
    answers_alone = [chosen(alone, value) for value in logits]
    answers_among = []
    for value in logits:
        rows = [RowSampling(SamplingParameters(), []), among_others]
        answers_among.append(sample_rows(np.stack([random_logits(), value]), rows)[1])

    assert answers_alone == answers_among


def test_drawn_tokens_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    row = RowSampling(SamplingParameters(temperature=1.0, seed=4), [])
    drawn = np.bincount([chosen(row, logits) for _ in range(20_000)], minlength=3) / 20_000

    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.015)


def test_the_repetition_penalty_counts_prompt_and_answer() -> None:
    row = RowSampling(SamplingParameters(repetition_penalty=2.0), [0])
    logits = np.array([4.0, 3.0, 2.5, -1.0], np.float32)

    assert chosen(row, logits) == 1  # token 0 of the prompt: 4 / 2
    row.observe(1)
    assert chosen(row, logits) == 2  # and token 1 of the answer: 3 / 2


def test_the_repetition_penalty_lowers_negative_logits_too() -> None:
    row = RowSampling(SamplingParameters(repetition_penalty=2.0), [0])

    assert chosen(row, np.array([-1.0, -1.5], np.float32)) == 1


def test_log_softmax_at_is_the_logarithm_of_the_probability() -> None:
    logits = np.array([[1, 2, 3], [1000, 0, 0]], np.float32)

    scores = log_softmax_at(logits, np.array([2, 0]))

    assert scores.tolist() == pytest.approx([np.log(np.exp(3) / np.exp([1, 2, 3]).sum()), 0.0])


def test_openais_penalties_count_the_answer_alone() -> None:
    row = RowSampling(SamplingParameters(presence_penalty=0.5, frequency_penalty=1.0), [0])
    logits = np.array([4.0, 3.0, 2.0], np.float32)

    drawn = []
    for _ in range(5):
        drawn.append(chosen(row, logits))
        row.observe(drawn[-1])

    # 4, then 4 - 0.5 - 1 = 2.5 against 3, then 2.5 against 1.5 and 2, then 1.5 against 1.5 and 2 …
    assert drawn == [0, 1, 0, 2, 0]


@given(
    temperature=st.floats(0, 10),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.01, 10),
    penalty=st.floats(-2, 2),
)
def test_the_smallest_and_largest_numbers_choose_a_token(
    temperature: float, top_p: float, min_p: float, repetition_penalty: float, penalty: float
) -> None:
    parameters = SamplingParameters(
        temperature=temperature,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=penalty,
        frequency_penalty=penalty,
        seed=1,
    )
    row = RowSampling(parameters, [0, 1])

    for seed in range(4):
        token_id = chosen(row, random_logits(seed=seed))
        row.observe(token_id)
        assert 0 <= token_id < 200


@given(seed=st.integers(0, 10_000), num_rows=st.integers(1, 6))
def test_rows_of_all_kinds_are_drawn_as_each_is_alone(seed: int, num_rows: int) -> None:
    random = np.random.default_rng(seed)

    def rows() -> list[RowSampling]:
        kinds = np.random.default_rng(seed)
        return [
            RowSampling(
                SamplingParameters(
                    temperature=float(kinds.choice([0, 0.7, 2.0])),
                    top_k=int(kinds.choice([0, 3])),
                    top_p=float(kinds.choice([0.5, 1.0])),
                    min_p=float(kinds.choice([0, 0.2])),
                    repetition_penalty=float(kinds.choice([1, 1.3])),
                    seed=index,
                ),
                [1, 2],
            )
            for index in range(num_rows)
        ]

    logits = random.normal(0, 2, (num_rows, 300)).astype(np.float32)

    together = sample_rows(logits.copy(), rows())
    alone = [chosen(row, logits[index]) for index, row in enumerate(rows())]

    assert together == alone
