"""Who may wait."""

import pytest

from adapters.onnx.admission import Admission, AdmissionLimits
from domain.errors import OverloadedError


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_requests_are_bounded_until_one_leaves() -> None:
    admission = Admission(AdmissionLimits(max_running=1, max_waiting=1, max_waiting_tokens=1000))
    first = admission.enter(1)
    admission.enter(1)
    with pytest.raises(OverloadedError, match="2 requests are already waiting"):
        admission.enter(1)

    first.begin()
    with pytest.raises(OverloadedError, match="1 requests are already waiting"):
        admission.enter(1)
    first.leave()
    first.leave()
    admission.enter(1)
    with pytest.raises(OverloadedError):
        admission.enter(1)


def test_tokens_are_bounded_by_bytes_until_they_are_counted() -> None:
    admission = Admission(AdmissionLimits(max_running=10, max_waiting=1, max_waiting_tokens=100))
    first = admission.enter(90)
    with pytest.raises(OverloadedError):
        admission.enter(20)

    first.correct(25)
    second = admission.enter(75)
    with pytest.raises(OverloadedError):
        admission.enter(1)
    second.begin()
    second.correct(1000)  # too late to count
    admission.enter(75)


def test_one_long_prompt_alone_is_let_in() -> None:
    admission = Admission(AdmissionLimits(max_running=10, max_waiting=1, max_waiting_tokens=100))
    with admission.enter(5000), pytest.raises(OverloadedError):
        admission.enter(1)
    admission.enter(1)


def test_retry_after_is_the_time_that_half_the_line_takes() -> None:
    clock = Seconds()
    admission = Admission(AdmissionLimits(max_running=1, max_waiting=39, max_waiting_tokens=10**6), now=clock)
    tickets = [admission.enter(1) for _ in range(40)]
    for _ in range(200):  # one leaves every two seconds, and another comes
        clock.now_s += 2
        tickets.pop(0).leave()
        tickets.append(admission.enter(1))

    with pytest.raises(OverloadedError) as refused:
        admission.enter(1)

    assert refused.value.retry_after_s == pytest.approx(40, abs=1)


def test_the_oldest_wait_is_that_of_who_came_first_and_still_waits() -> None:
    clock = Seconds()
    admission = Admission(AdmissionLimits(max_running=1, max_waiting=9, max_waiting_tokens=100), now=clock)
    assert admission.oldest_wait_s == 0
    first = admission.enter(1)
    clock.now_s += 3
    admission.enter(1)
    clock.now_s += 2

    assert admission.oldest_wait_s == 5
    first.begin()
    assert admission.oldest_wait_s == 2
