"""The load generator: what it reads from a stream, what it makes of answers, and what it asks."""

import json
import math
from typing import Any

import pytest
from bench.chat_client import Answer, read_events
from bench.constrained import SCHEMAS, is_valid
from bench.load import LoadFigures, figures_of
from bench.measurements import Comparison, Measurement, read_comparison
from bench.prompt_sets import PROMPT_SETS, conversations
from bench.stall import split_gaps


def event(text: str | None = None, *, finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice], **fields}).encode() + b"\n\n"


def answered(started_s: float, piece_times_s: list[float], num_tokens: int = 0) -> Answer:
    return Answer(started_s, piece_times_s[-1], piece_times_s, num_completion_tokens=num_tokens)


def test_events_are_read_across_pieces_and_count_from_their_last_byte() -> None:
    answer = Answer(0.0)
    first = event("Hel")
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    rest = event("lo", finish_reason="length") + b'data: {"choices": [], "usage": %s}\n\ndata: [DONE]\n\n' % (
        json.dumps(usage).encode()
    )

    read_events(answer, [(1.0, first[:9]), (2.0, first[9:]), (3.0, rest)])

    assert answer.text == "Hello"
    assert answer.piece_times_s == [2.0, 3.0]
    assert answer.gaps_s == [1.0]
    assert answer.first_token_s == 2.0
    assert (answer.num_prompt_tokens, answer.num_completion_tokens) == (7, 2)
    assert answer.finish_reason == "length"
    assert answer.error is None


def test_an_empty_piece_is_no_token() -> None:
    answer = Answer(0.0)

    read_events(answer, [(1.0, event("") + event(None)), (2.0, event("a"))])

    assert answer.piece_times_s == [2.0]


@pytest.mark.parametrize(
    "stream",
    [b'data: {"error": {"message": "no"}}\n\n', b"data: [DONE]\n\n", event("", finish_reason="stop")],
)
def test_an_answer_without_text_is_an_error(stream: bytes) -> None:
    answer = Answer(0.0)

    read_events(answer, [(1.0, stream)])

    assert answer.error is not None


def test_figures_run_from_the_first_request_to_the_last_answer() -> None:
    answers = [answered(10.0, [10.5, 11.0, 11.25], 3), answered(10.25, [12.25, 14.0], 2)]

    figures = figures_of(answers, cpu_s=0.4)

    assert figures.duration_s == 4.0
    assert figures.tokens_per_s == 5 / 4
    assert figures.first_token_p50_s == pytest.approx((0.5 + 2.0) / 2)
    assert figures.gap_p50_s == 0.5
    assert figures.latency_p50_s == pytest.approx((1.25 + 3.75) / 2)
    assert figures.client_cpu_share == pytest.approx(0.1)


def test_failed_requests_count_as_errors_and_not_as_tokens() -> None:
    failed = Answer(0.0, 1.0, num_completion_tokens=9, error="status 503")

    figures = figures_of([answered(0.0, [2.0], 4), failed, failed], cpu_s=0)

    assert (figures.num_requests, figures.num_errors, figures.errors) == (3, 2, {"status 503": 2})
    assert figures.tokens_per_s == 2.0


@pytest.mark.parametrize("name", sorted(PROMPT_SETS))
def test_a_prompt_set_repeats_with_its_seed_alone(name: str) -> None:
    asked = conversations(name, 16, "a")

    assert asked == conversations(name, 16, "a")
    assert asked[:4] == conversations(name, 4, "a")
    last_turns = {messages[-1]["content"] for messages in (*asked, *conversations(name, 16, "b"))}
    assert len(last_turns) == 32


def test_mixed_is_half_long_and_half_short() -> None:
    lengths = [len(messages[0]["content"]) for messages in conversations("mixed", 10, 0)]

    assert sum(length > 1000 for length in lengths) == 5
    assert sum(length < 200 for length in lengths) == 5


def test_shared_prefix_differs_in_the_question_alone() -> None:
    systems = {messages[0]["content"] for messages in conversations("shared_prefix", 5, 0)}

    assert len(systems) == 1


def test_gaps_are_told_apart_by_the_reading_of_the_long_prompt() -> None:
    stream = answered(0.0, [1.0, 2.0, 3.0, 7.0, 8.0, 9.0])
    long = answered(3.5, [7.5])

    before, meanwhile = split_gaps([stream], long)

    assert before == [1.0, 1.0]
    assert meanwhile == [4.0, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"action": "buy", "confidence": 7}', True),
        ('{"action": "buy", "confidence": 700}', False),
        ('{"action": "buy"}', False),
        ('{"action": "buy", "confiden', False),
    ],
)
def test_an_answer_is_valid_as_its_schema_has_it(text: str, *, expected: bool) -> None:
    assert is_valid(Answer(0.0, text=text), SCHEMAS[0]) is expected


def measured(target: str, number: int, tokens_per_s: float) -> Measurement:
    answers = [answered(0.0, [0.5, 1.0], round(tokens_per_s))]
    return Measurement(target, "8 callers", number, figures_of(answers, 0), number * 2**20)


def test_a_comparison_survives_its_file_and_pairs_rounds(tmp_path: Any) -> None:
    comparison = Comparison("mixed", "a machine")
    for number, (ours, theirs) in enumerate([(200, 100), (90, 60), (300, 100)], start=1):
        comparison.measurements += [measured("ours", number, ours), measured("peer", number, theirs)]

    comparison.save(tmp_path / "folder" / "comparison.json")
    read = read_comparison(tmp_path / "folder" / "comparison.json")

    assert read == comparison
    ratio = read.ratio("peer", "8 callers")
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 1.5, 3.0)
    assert read.memory_mib("peer") == 3.0
    assert "2.00 (1.50-3.00)" in read.table()


def test_a_figure_that_was_not_measured_is_null_in_the_file(tmp_path: Any) -> None:
    figures = figures_of([answered(0.0, [1.0], 1)], 0)
    comparison = Comparison("short", "a machine", [Measurement("ours", "1 callers", 0, figures, None)])

    comparison.save(tmp_path / "comparison.json")

    written = json.loads((tmp_path / "comparison.json").read_text())
    assert written["measurements"][0]["figures"]["gap_p50_s"] is None
    read = read_comparison(tmp_path / "comparison.json").measurements[0].figures
    assert math.isnan(read.gap_p50_s)
    assert read.latency_p50_s == 1.0


def test_a_comparison_without_ours_has_no_ratio() -> None:
    comparison = Comparison("mixed", "a machine", [measured("peer", 1, 10)])

    assert comparison.ratio("peer", "8 callers") is None
    assert math.isnan(comparison.memory_mib("absent"))
    assert isinstance(comparison.measurements[0].figures, LoadFigures)
