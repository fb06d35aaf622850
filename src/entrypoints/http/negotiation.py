"""What request headers ask for: the form of a string reply (RFC 9110), an answer later, an answer once."""

import re
from collections.abc import Sequence
from functools import lru_cache

from domain.errors import FieldProblem, InvalidRequestError

MAX_KEY_CHARACTERS = 255
KEY = re.compile(rf"[!-~ ]{{1,{MAX_KEY_CHARACTERS}}}")


@lru_cache(maxsize=64)
def prefers_plain_text(accept: str) -> bool:
    """Tell whether an ``Accept`` header ranks ``text/plain`` above ``application/json``.

    A tie, an absent header or ``*/*`` (a node's) is JSON.
    """
    return _quality(accept, "text/plain") > _quality(accept, "application/json")


@lru_cache(maxsize=64)
def prefers_html(accept: str) -> bool:
    """Tell whether an ``Accept`` header ranks ``text/html`` above ``text/plain``, as a browser's does."""
    return _quality(accept, "text/html") > _quality(accept, "text/plain")


def _quality(accept: str, media_type: str) -> float:
    """Return the weight of a media type: that of the most specific range which covers it."""
    ranges = [media_type, media_type.partition("/")[0] + "/*", "*/*"]
    best, best_rank = 0.0, len(ranges)
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name in ranges and (rank := ranges.index(name)) < best_rank:
            best, best_rank = _weight(parameters), rank
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def prefers_async(prefer: Sequence[str]) -> bool:
    """Tell whether a ``Prefer`` header holds ``respond-async`` (RFC 7240, section 4.1)."""
    preferences = (entry.partition(";")[0] for value in prefer for entry in value.split(","))
    return any(preference.strip().lower() == "respond-async" for preference in preferences)


def idempotency_key(given: str | None) -> str | None:
    """Return the ``Idempotency-Key`` of a request.

    Raises:
        InvalidRequestError: it is empty, too long, or no printable ASCII.
    """
    if given is not None and not KEY.fullmatch(given):
        problem = f"should be 1 to {MAX_KEY_CHARACTERS} printable ASCII characters"
        raise InvalidRequestError(FieldProblem("Idempotency-Key", problem))
    return given
