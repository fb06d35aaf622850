"""How much of the prompts a step reads beside answers under way."""

from adapters.onnx.prefill_budget import MIN_CHUNK_TOKENS, PrefillBudget

LONG = 10_000
"""Tokens of a prompt that never fits."""


def budget_of(max_stall: float = 2, **chunks_s: float) -> PrefillBudget:
    """Return a budget that knows a decode step of 10 ms and these chunks."""
    budget = PrefillBudget(512, max_stall)
    budget.decoded(0.010)
    for name, duration_s in chunks_s.items():
        budget.prefilled(int(name.removeprefix("of_")), duration_s)
    return budget


def first_chunk(budget: PrefillBudget, *, num_decoding: int = 1, num_waiting: int = 0) -> int:
    """Return how much of a long prompt a step reads."""
    budget.begin_step(num_decoding=num_decoding, num_waiting=num_waiting)
    return budget.next_chunk(LONG)


def test_nobody_to_hold_up_means_the_whole_chunk() -> None:
    assert first_chunk(PrefillBudget(512, max_stall=2), num_decoding=0) == 512


def test_a_chunk_takes_as_long_as_it_may() -> None:
    assert first_chunk(budget_of(of_64=0.018, of_128=0.030), num_decoding=8) == 64


def test_before_anything_is_known_a_chunk_is_small_and_grows_as_it_is_measured() -> None:
    assert first_chunk(PrefillBudget(5, max_stall=2)) == 5
    budget = PrefillBudget(512, max_stall=2.1)
    sizes = []
    for _ in range(6):
        size = first_chunk(budget)
        sizes.append(size)
        budget.decoded(0.010)
        budget.prefilled(size, 0.004 + size * 0.0001)  # a part of it is the same for every size

    assert sizes[0] == MIN_CHUNK_TOKENS
    assert sizes == sorted(sizes)
    assert sizes[-1] == 128


def test_what_large_chunks_took_says_nothing_of_small_ones() -> None:
    assert first_chunk(budget_of(of_512=0.050)) == MIN_CHUNK_TOKENS


def test_a_slow_machine_still_reads_something() -> None:
    assert first_chunk(budget_of(of_128=5.0)) == MIN_CHUNK_TOKENS


def test_the_end_of_a_prompt_says_nothing_of_chunks() -> None:
    budget = budget_of(of_64=0.018)
    for _ in range(50):
        budget.prefilled(1, 0.010)

    assert first_chunk(budget) == 64


def test_a_size_that_was_slow_once_is_tried_again() -> None:
    assert first_chunk(budget_of(of_16=0.005, of_32=0.400)) == 64


def test_those_who_wait_count_more_than_those_who_are_held_up() -> None:
    budget = budget_of(of_64=0.020)

    assert [first_chunk(budget, num_decoding=8, num_waiting=waiting) for waiting in (1, 4, 8, 16)] == [
        64,
        64,
        128,
        256,
    ]


def test_a_prompt_that_nearly_fits_is_read_whole() -> None:
    budget = budget_of(of_64=0.020)
    budget.begin_step(num_decoding=1, num_waiting=0)

    assert budget.next_chunk(70) == 70
    assert budget.next_chunk(100) == 64


def test_a_step_begins_a_further_prompt_only_where_all_of_it_fits() -> None:
    budget = budget_of(of_16=0.006)
    budget.begin_step(num_decoding=1, num_waiting=0)
    assert budget.next_chunk(20) == 20
    budget.prefilled(20, 0.008)

    assert budget.next_chunk(60) == 0
    assert budget.next_chunk(30) == 30
    budget.prefilled(30, 0.011)
    assert budget.next_chunk(30) == 0
    budget.begin_step(num_decoding=1, num_waiting=0)
    assert budget.next_chunk(60) > 0


def test_a_step_reads_no_more_than_a_chunk_where_nobody_is_held_up() -> None:
    budget = budget_of(of_64=0.020)
    budget.begin_step(num_decoding=0, num_waiting=9)
    read = 0
    while (num_tokens := budget.next_chunk(60)) > 0:
        budget.prefilled(num_tokens, 0.020)
        read += num_tokens

    assert read == 480
