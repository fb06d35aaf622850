"""Content negotiation for string replies (RFC 9110, section 12.5.1)."""


def prefers_plain_text(accept: str) -> bool:
    """Tell whether an ``Accept`` header ranks ``text/plain`` above ``application/json``.

    A tie, an absent header or ``*/*`` (a node's) is JSON.
    """
    return _quality(accept, "text/plain") > _quality(accept, "application/json")


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
