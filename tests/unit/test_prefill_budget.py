"""How much of a prompt a step reads beside answers under way."""

from adapters.onnx.prefill_budget import MIN_CHUNK_TOKENS, PrefillBudget


def test_nobody_to_hold_up_means_the_whole_chunk() -> None:
    assert PrefillBudget(512, max_stall=2).num_tokens(num_decoding=0, num_waiting=1) == 512


def test_a_chunk_takes_as_long_as_it_may() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(64, 0.018)
    budget.prefilled(128, 0.030)

    assert budget.num_tokens(num_decoding=8, num_waiting=1) == 64


def test_before_anything_is_known_a_chunk_is_small_and_grows_as_it_is_measured() -> None:
    assert PrefillBudget(5, max_stall=2).num_tokens(num_decoding=1, num_waiting=1) == 5
    budget = PrefillBudget(512, max_stall=2.1)
    sizes = []
    for _ in range(6):
        size = budget.num_tokens(num_decoding=1, num_waiting=1)
        sizes.append(size)
        budget.decoded(0.010)
        budget.prefilled(size, 0.004 + size * 0.0001)  # a part of it is the same for every size

    assert sizes[0] == MIN_CHUNK_TOKENS
    assert sizes == sorted(sizes)
    assert sizes[-1] == 128


def test_what_large_chunks_took_says_nothing_of_small_ones() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(512, 0.050)

    assert budget.num_tokens(num_decoding=1, num_waiting=1) == MIN_CHUNK_TOKENS


def test_a_slow_machine_still_reads_something() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(128, 5.0)

    assert budget.num_tokens(num_decoding=1, num_waiting=1) == MIN_CHUNK_TOKENS


def test_the_end_of_a_prompt_says_nothing_of_chunks() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(64, 0.018)
    for _ in range(50):
        budget.prefilled(1, 0.010)

    assert budget.num_tokens(num_decoding=1, num_waiting=1) == 64


def test_a_size_that_was_slow_once_is_tried_again() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(16, 0.005)
    budget.prefilled(32, 0.400)

    assert budget.num_tokens(num_decoding=1, num_waiting=1) == 64


def test_those_who_wait_count_as_much_as_those_who_are_held_up() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(64, 0.020)

    sizes = [budget.num_tokens(num_decoding=2, num_waiting=waiting) for waiting in (1, 2, 4, 8)]
    assert sizes == [64, 64, 128, 256]
