"""How much of the prompts a step reads beside answers under way."""

import math

import pytest

from adapters.onnx.pass_durations import DecodeDurations, PassDurations
from adapters.onnx.prefill_budget import LEAST_CHUNK_TOKENS, PrefillBudget

LONG = 10_000
"""Tokens of a prompt that never fits."""


def pass_s(num_tokens: int) -> float:
    """Return how long a pass takes where it costs 4 ms and a token 0.1 ms."""
    return 0.004 + 0.0001 * num_tokens


def budget_of(max_stall: float = 2, *sizes: int) -> PrefillBudget:
    """Return a budget that knows a decode step of 10.1 ms and passes of these sizes."""
    budget = PrefillBudget(512, max_stall)
    budget.decoded(0.0101)
    for size in sizes:
        budget.prefilled(size, pass_s(size))
    return budget


def first_chunk(budget: PrefillBudget, *, num_decoding: int = 1, num_waiting: int = 0) -> int:
    """Return how much of a long prompt a step reads."""
    budget.begin_step(num_decoding=num_decoding, num_waiting=num_waiting)
    return budget.next_chunk(LONG)


def test_nobody_to_hold_up_means_the_whole_chunk() -> None:
    assert first_chunk(PrefillBudget(512, max_stall=2), num_decoding=0) == 512


def test_a_chunk_takes_as_long_as_it_may() -> None:
    assert first_chunk(budget_of(2, 64, 128), num_decoding=8) == 152
    assert first_chunk(budget_of(1, 64, 128), num_decoding=8) == 56


def test_before_anything_is_known_a_chunk_is_small_and_grows_as_it_is_measured() -> None:
    assert first_chunk(PrefillBudget(5, max_stall=2)) == 5
    budget = PrefillBudget(512, max_stall=2)
    sizes = []
    for _ in range(8):
        size = first_chunk(budget)
        sizes.append(size)
        budget.decoded(0.0101)
        budget.prefilled(size, pass_s(size))

    assert sizes[0] == LEAST_CHUNK_TOKENS
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 152


def test_a_slow_machine_still_reads_something() -> None:
    budget = budget_of()
    budget.prefilled(128, 5.0)

    assert first_chunk(budget) == LEAST_CHUNK_TOKENS


def test_a_pass_that_was_slow_once_is_forgotten() -> None:
    budget = budget_of(2, 64, 128)
    budget.prefilled(64, 1.0)
    assert first_chunk(budget) < 64
    for size in (16, 64) * 60:
        budget.prefilled(size, pass_s(size))

    assert first_chunk(budget) >= 112


def test_those_who_wait_behind_a_prompt_count_more_than_those_it_holds_up() -> None:
    budget = budget_of(1, 64, 128)

    assert [first_chunk(budget, num_decoding=16, num_waiting=waiting) for waiting in (1, 2, 3, 9)] == [
        56,
        104,
        224,
        256,
    ]


def test_a_prompt_that_nearly_fits_is_read_whole() -> None:
    budget = budget_of(1, 64, 128)
    budget.begin_step(num_decoding=1, num_waiting=0)

    assert budget.next_chunk(90) == 90
    assert budget.next_chunk(100) == 56


def test_no_prompt_is_left_with_a_single_token() -> None:
    budget = budget_of(1, 64, 128)
    budget.begin_step(num_decoding=1, num_waiting=0)

    assert budget.next_chunk(513) == 56
    assert PrefillBudget(512, max_stall=1).next_chunk(513) == 511
    assert PrefillBudget(1, max_stall=1).next_chunk(2) == 1


def test_a_step_begins_a_further_prompt_only_where_all_of_it_fits() -> None:
    budget = budget_of(2, 64, 128)
    budget.begin_step(num_decoding=1, num_waiting=0)
    assert budget.next_chunk(60) == 60
    budget.prefilled(60, pass_s(60))

    assert budget.next_chunk(100) == 0
    assert budget.next_chunk(50) == 50
    budget.prefilled(50, pass_s(50))
    assert budget.next_chunk(50) == 0
    budget.begin_step(num_decoding=1, num_waiting=0)
    assert budget.next_chunk(100) == 100


def test_a_step_reads_no_more_than_a_chunk_where_nobody_is_held_up() -> None:
    budget = budget_of(2, 64)
    budget.begin_step(num_decoding=0, num_waiting=9)
    read = 0
    while (num_tokens := budget.next_chunk(60)) > 0:
        budget.prefilled(num_tokens, 0.020)
        read += num_tokens

    assert read == 480


def test_durations_are_a_line_through_what_was_measured() -> None:
    durations = PassDurations()
    for size in (200, 40, 120):
        durations.measured(size, pass_s(size))

    assert durations.most_tokens(pass_s(100)) == pytest.approx(100)
    # 200 * 0.8**2 counts as the widest
    assert durations.most_tokens(pass_s(128) * 1.5) == pytest.approx(128 * 1.5)
    assert durations.most_tokens(10.0) == 2 * 128
    assert durations.most_tokens(math.inf) == math.inf


def test_without_two_sizes_a_pass_has_no_cost_of_its_own() -> None:
    durations = PassDurations()
    durations.measured(32, 0.008)

    assert durations.most_tokens(0.004) == pytest.approx(16)


def test_a_chunk_beside_the_rows_costs_no_more_than_its_tokens() -> None:
    budget = budget_of(2, 64, 128)
    budget.begin_step(num_decoding=8, num_waiting=1)
    assert budget.next_chunk(LONG, is_beside=True) == 152  # nothing is known but passes of their own
    for _ in range(9):
        budget.decoded(0.0101 + 0.0001 * 152, num_beside=152)
    budget.begin_step(num_decoding=8, num_waiting=1)

    assert budget.next_chunk(LONG, is_beside=True) == 192
    assert budget.next_chunk(LONG) == 152


@pytest.mark.parametrize("is_beside", [False, True])
def test_a_pass_that_took_longer_than_the_step_had_leaves_no_time_for_another_prompt(is_beside: bool) -> None:
    budget = budget_of(2, 64, 128)
    for num_past in (0, 500):
        budget.decoded(0.05, num_beside=64, num_past=num_past)
    budget.begin_step(num_decoding=8, num_waiting=0)

    budget.prefilled(24, 5.0)

    assert budget.next_chunk(40, is_beside=is_beside) == 0


def test_what_is_put_off_is_not_spent_again() -> None:
    budget = budget_of(2, 64, 128)
    budget.decoded(0.0101 + 0.0001 * 152, num_beside=152)
    budget.begin_step(num_decoding=8, num_waiting=1)
    assert budget.next_chunk(50) == 50
    budget.put_off(150, 0)

    assert budget.next_chunk(50) == 0
    assert budget.next_chunk(16) == 16


def test_steps_tell_apart_what_rows_tokens_and_the_positions_before_them_cost() -> None:
    durations = DecodeDurations()
    durations.measured(64, 0.020)  # with no step before it, all of it is the rows'
    for _ in range(400):
        for num_beside, num_past in ((64, 0), (13, 900), (128, 400), (32, 1500)):
            positions = num_beside * (num_past + num_beside / 2)
            duration_s = 0.010 + 0.0002 * num_beside + 1e-7 * positions
            durations.measured(num_beside, duration_s, num_past=num_past)

    assert durations.decode_s == pytest.approx(0.010, rel=0.02)
    assert durations.beside_s(100, 0) == pytest.approx(0.020 + 0.0005, rel=0.02)
    assert durations.beside_s(100, 1000) == pytest.approx(0.020 + 0.0105, rel=0.02)
    assert durations.most_tokens(durations.beside_s(50, 800), 800) == pytest.approx(50)
    assert durations.most_tokens(math.inf, 800) == pytest.approx(2 * 128 * 0.8)


def test_a_prompt_s_later_chunks_are_smaller() -> None:
    budget = budget_of(2, 64, 128)
    for num_past in (0, 512, 1024):
        budget.decoded(0.0101 + 0.0001 * 100 * (1 + num_past / 1024), num_beside=100, num_past=num_past)
    sizes = []
    for num_past in (0, 512, 1024):
        budget.begin_step(num_decoding=8, num_waiting=1)
        sizes.append(budget.next_chunk(LONG, num_past=num_past, is_beside=True))

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 1.5 * sizes[2] > 0


def test_tokens_beside_are_never_free() -> None:
    durations = DecodeDurations()
    assert durations.most_tokens(1.0, 0) is None
    durations.measured(0, 0.010)
    for _ in range(20):
        durations.measured(32, 0.005)  # faster than without

    assert 0 < durations.beside_s(32, 0) < 0.005
