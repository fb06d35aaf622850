"""Stop sequences in a text that comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.stop_sequences import StopSequenceFilter

texts = st.text(alphabet="ab\n", max_size=30)


def run(pieces: list[str], stop: list[str]) -> tuple[str, bool]:
    stop_filter = StopSequenceFilter(stop)
    passed = []
    for piece in pieces:
        passed.append(stop_filter.feed(piece))
        if stop_filter.has_stopped:
            return "".join(passed), True
    return "".join(passed) + stop_filter.flush(), False


@given(st.lists(texts), st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), max_size=3))
def test_the_answer_ends_before_the_stop_sequence_that_is_complete_first(
    pieces: list[str], stop: list[str]
) -> None:
    passed, has_stopped = run(pieces, stop)

    whole = "".join(pieces)
    assert has_stopped == any(sequence in whole for sequence in stop)
    assert whole.startswith(passed)
    assert not any(sequence in passed for sequence in stop)
    if not has_stopped:
        assert passed == whole


def test_text_that_cannot_begin_a_stop_sequence_is_passed_on_at_once() -> None:
    stop_filter = StopSequenceFilter(["END"])

    assert stop_filter.feed("The E") == "The "
    assert stop_filter.feed("N") == ""
    assert stop_filter.feed("emy") == "ENemy"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_cut_does_not_depend_on_the_pieces(size: int) -> None:
    text = "one\ntwo\n\nthree"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]

    assert run(pieces, ["\n\n"]) == ("one\ntwo", True)
