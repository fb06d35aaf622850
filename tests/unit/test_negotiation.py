"""When a string reply goes out as bare text."""

import pytest

from entrypoints.http.negotiation import prefers_html, prefers_plain_text


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain",
        "text/*",
        "text/plain, application/json;q=0.9",
        "TEXT/PLAIN",
        "text/plain;q=0.5, */*;q=0.1",
    ],
)
def test_plain_text_when_it_ranks_higher(accept: str) -> None:
    assert prefers_plain_text(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/*, text/*",
        "text/plain;q=0",
        "text/plain;q=0.5, application/json",
        "text/plain, application/json",
        "text/plain;q=oops",
        "image/png",
        ";;;,,,",
    ],
)
def test_json_otherwise(accept: str) -> None:
    assert not prefers_plain_text(accept)


@pytest.mark.parametrize(
    ("accept", "is_browser"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("text/*", False),
        ("text/plain, text/html;q=0.9", False),
    ],
)
def test_html_for_who_ranks_it_above_plain_text(accept: str, *, is_browser: bool) -> None:
    assert prefers_html(accept) is is_browser
