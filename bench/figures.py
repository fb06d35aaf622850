"""The arithmetic of a benchmark: percentiles of one run, and medians, spreads and ratios of several."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the values lie, linear between neighbours.

    NaN where there are none.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one figure."""

    median: float
    low: float
    high: float
    num_values: int

    def shown(self, digits: int = 1) -> str:
        """Return ``median (low-high)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of one value or more."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours over theirs, round by round: what slowed a whole round down cancels out."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def poisson_arrivals(rate: float, count: int, seed: int | str) -> list[float]:
    """Return the seconds after the start at which ``count`` requests arrive, ``rate`` a second on average."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    now_s = 0.0
    arrivals = []
    for _ in range(count):
        now_s += chance.expovariate(rate)
        arrivals.append(now_s)
    return arrivals


def verdict(value: float, bar: float, *, at_most: bool = False) -> str:
    """Tell a figure beside its bar."""
    is_met = value <= bar if at_most else value >= bar
    return f"{value:.2f} (bar {'<=' if at_most else '>='} {bar:g}: {'met' if is_met else 'MISSED'})"
