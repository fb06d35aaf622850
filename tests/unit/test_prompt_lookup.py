"""Guesses by what followed before, and when they are worth a try."""

from adapters.onnx.prompt_lookup import PROBE_EVERY, PassCosts, PromptLookup

ROOM = 100
CHEAP = PassCosts()


def test_what_followed_the_same_three_tokens_is_guessed() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3], max_draft_tokens=3)

    assert lookup.draft(CHEAP, ROOM) == [4, 5, 6]


def test_the_latest_occurrence_counts() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 4, 4, 1, 2, 3, 5, 5, 5, 1, 2, 3], max_draft_tokens=3)

    assert lookup.draft(CHEAP, ROOM) == [5, 5, 5]


def test_a_loop_is_guessed_beyond_what_is_there() -> None:
    lookup = PromptLookup([8, 9, 8, 9, 8, 9], max_draft_tokens=7)
    for _ in range(9):
        lookup.learn(7, 7)

    assert lookup.draft(CHEAP, ROOM) == [8, 9, 8, 9, 8, 9, 8]


def test_nothing_is_guessed_where_nothing_repeats() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5], max_draft_tokens=7)

    assert lookup.draft(CHEAP, ROOM) == []
    lookup.observe(1)
    lookup.observe(2)
    assert lookup.draft(CHEAP, ROOM) == []
    lookup.observe(3)
    assert lookup.draft(CHEAP, ROOM)[0] == 4


def test_wrong_guesses_end_it_and_it_is_tried_again_now_and_then() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3], max_draft_tokens=7)
    for _ in range(20):
        lookup.learn(0, 7)

    drafts = [lookup.draft(CHEAP, ROOM) for _ in range(PROBE_EVERY)]

    assert drafts[:-1] == [[]] * (PROBE_EVERY - 1)
    assert drafts[-1] == [4, 5, 6]
    for _ in range(20):
        lookup.learn(3, 3)
    assert len(lookup.draft(CHEAP, ROOM)) == 7


def test_a_machine_on_which_wide_passes_are_dear_guesses_less() -> None:
    dear = PassCosts()
    for num_tokens, duration_s in ((1, 1.0), (4, 3.5), (8, 7.0)):
        dear.measured(num_tokens, duration_s)
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3], max_draft_tokens=7)

    assert lookup.draft(dear, ROOM) == []
    assert lookup.draft(CHEAP, ROOM) != []


def test_an_answer_gets_no_more_guesses_than_it_has_room_for() -> None:
    lookup = PromptLookup([8, 9, 8, 9, 8, 9], max_draft_tokens=7)
    for _ in range(9):
        lookup.learn(7, 7)

    assert [len(lookup.draft(CHEAP, room)) for room in (8, 7, 6, 3, 2, 0)] == [7, 7, 3, 3, 0, 0]
