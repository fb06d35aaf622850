"""How much of a prompt a step reads beside answers under way."""

from adapters.onnx.prefill_budget import MIN_CHUNK_TOKENS, PrefillBudget


def test_nobody_to_hold_up_means_the_whole_chunk() -> None:
    assert PrefillBudget(512, max_stall=2).num_tokens(num_decoding=0) == 512


def test_a_chunk_takes_as_long_as_it_may() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(100, 0.050)

    assert budget.num_tokens(num_decoding=8) == 40


def test_before_anything_is_known_a_chunk_is_small() -> None:
    assert PrefillBudget(512, max_stall=2).num_tokens(num_decoding=1) == MIN_CHUNK_TOKENS
    assert PrefillBudget(5, max_stall=2).num_tokens(num_decoding=1) == 5


def test_a_slow_machine_still_reads_something() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(100, 5.0)

    assert budget.num_tokens(num_decoding=1) == MIN_CHUNK_TOKENS


def test_the_end_of_a_prompt_says_nothing_of_chunks() -> None:
    budget = PrefillBudget(512, max_stall=2)
    budget.decoded(0.010)
    budget.prefilled(100, 0.050)
    for _ in range(50):
        budget.prefilled(1, 0.010)

    assert budget.num_tokens(num_decoding=1) == 40
