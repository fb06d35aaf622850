"""The arithmetic of the benchmarks, by hand."""

import math
import statistics

import pytest
from bench.figures import paired_ratio, percentile, poisson_arrivals, spread, verdict


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 10.0), (0.25, 17.5), (0.5, 25.0), (0.95, 38.5), (1.0, 40.0)]
)
def test_percentile_lies_between_its_neighbours(share: float, expected: float) -> None:
    assert percentile([40.0, 10.0, 30.0, 20.0], share) == pytest.approx(expected)


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.99) == 7.0


def test_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))


def test_spread_holds_the_median_and_the_range() -> None:
    measured = spread([3.0, 1.0, 2.0, 10.0])

    assert (measured.median, measured.low, measured.high, measured.num_values) == (2.5, 1.0, 10.0, 4)
    assert measured.shown() == "2.5 (1.0-10.0)"


def test_ratio_is_taken_round_by_round() -> None:
    # the second round was twice as slow for both; the ratio of the medians would be 1.8 / 1.5
    ratio = paired_ratio([2.4, 1.2, 1.8], [2.0, 1.0, 1.5])

    assert ratio.low == pytest.approx(1.2)
    assert ratio.high == pytest.approx(1.2)


def test_ratio_refuses_rounds_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


def test_arrivals_are_exponential_at_the_rate() -> None:
    arrivals_s = poisson_arrivals(4.0, 20_000, "seed")
    gaps_s = [after - before for before, after in zip([0.0, *arrivals_s], arrivals_s, strict=False)]

    assert arrivals_s == sorted(arrivals_s)
    assert statistics.mean(gaps_s) == pytest.approx(0.25, rel=0.03)
    # of an exponential distribution the deviation is the mean, and 1 - 1/e lie below it
    assert statistics.stdev(gaps_s) == pytest.approx(0.25, rel=0.05)
    assert sum(gap < 0.25 for gap in gaps_s) / len(gaps_s) == pytest.approx(1 - math.exp(-1), abs=0.01)


def test_arrivals_repeat_with_their_seed() -> None:
    assert poisson_arrivals(1.0, 5, 1) == poisson_arrivals(1.0, 5, 1)
    assert poisson_arrivals(1.0, 5, 1) != poisson_arrivals(1.0, 5, 2)


@pytest.mark.parametrize(
    ("value", "at_most", "word"),
    [(1.2, False, "met"), (1.19, False, "MISSED"), (1.2, True, "met"), (1.21, True, "MISSED")],
)
def test_verdict_tells_whether_a_bar_is_met(value: float, at_most: bool, word: str) -> None:
    assert f": {word})" in verdict(value, 1.2, at_most=at_most)
