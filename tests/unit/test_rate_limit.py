"""A caller's share of a minute: full at first, filled evenly, and owed for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RateLimitError
from domain.generation import Usage
from domain.rate_limit import Allowance, RateLimit, RateLimits


class Clock:
    """Says what it was set to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def refused_for(limits: RateLimits, owner: str = "alice") -> int:
    with pytest.raises(RateLimitError) as caught:
        limits.admit(owner)
    return caught.value.retry_after_s


def test_a_minutes_worth_may_come_at_once_and_then_evenly() -> None:
    clock = Clock()
    limits = RateLimits({"alice": RateLimit(requests_per_minute=6)}, clock)
    for _ in range(6):
        limits.admit("alice")

    assert refused_for(limits) == 10
    clock.now_s += 9
    assert refused_for(limits) == 1
    clock.now_s += 1
    limits.admit("alice")
    assert refused_for(limits) == 10


def test_time_without_requests_saves_no_more_than_a_minutes_worth() -> None:
    clock = Clock()
    limits = RateLimits({"alice": RateLimit(requests_per_minute=2)}, clock)
    clock.now_s += 3600
    limits.admit("alice")
    limits.admit("alice")

    assert refused_for(limits) == 30


def test_tokens_are_owed_until_they_are_made_up_for() -> None:
    clock = Clock()
    limits = RateLimits({"alice": RateLimit(tokens_per_minute=60)}, clock)
    limits.admit("alice")
    limits.settle("alice", Usage(50, 40))

    assert refused_for(limits) == 30
    clock.now_s += 29.5
    assert refused_for(limits) == 1
    clock.now_s += 0.5
    limits.admit("alice")


def test_who_owes_tokens_spends_no_requests() -> None:
    clock = Clock()
    limits = RateLimits({"alice": RateLimit(requests_per_minute=1, tokens_per_minute=60)}, clock)
    limits.settle("alice", Usage(120, 0))
    refused_for(limits)
    clock.now_s += 60
    limits.admit("alice")

    assert refused_for(limits) == 60


def test_callers_do_not_share_and_who_has_no_limit_is_let_in() -> None:
    limits = RateLimits({"alice": RateLimit(1, 1), "bob": RateLimit(1, 1), "carol": RateLimit()}, Clock())
    limits.admit("alice")
    limits.settle("alice", Usage(100, 100))
    refused_for(limits)

    limits.admit("bob")
    for _ in range(100):
        limits.admit("carol")
        limits.settle("carol", Usage(1000, 1000))
        limits.admit("")


def test_a_share_of_less_than_one_request_is_one_request_in_several_minutes() -> None:
    clock = Clock()
    limits = RateLimits({"alice": RateLimit(requests_per_minute=1).share(2)}, clock)
    limits.admit("alice")

    assert refused_for(limits) == 120
    clock.now_s += 120
    limits.admit("alice")


@given(
    per_minute=st.floats(0.1, 1e6),
    steps=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e4)), min_size=1, max_size=50),
)
def test_never_more_is_granted_than_a_minutes_worth_and_what_came_in(
    per_minute: float, steps: list[tuple[float, float]]
) -> None:
    allowance, now_s, granted, largest = Allowance(per_minute, 0.0), 0.0, 0.0, 0.0
    for pause_s, amount in steps:
        now_s += pause_s
        if allowance.wait_s(amount, now_s) == 0:
            allowance.spend(amount, now_s)
            granted += amount
            largest = max(largest, amount)

    assert granted <= (per_minute * (1 + now_s / 60) + largest) * (1 + 1e-9)


@given(per_minute=st.floats(0.1, 1e6), spent=st.floats(0, 1e7), amount=st.floats(0, 1e4))
def test_after_the_wait_it_is_there(per_minute: float, spent: float, amount: float) -> None:
    allowance = Allowance(per_minute, 0.0)
    allowance.spend(spent, 0.0)
    wait_s = allowance.wait_s(amount, 0.0)

    assert allowance.wait_s(amount, wait_s) == pytest.approx(0, abs=1e-6 * (1 + wait_s))
