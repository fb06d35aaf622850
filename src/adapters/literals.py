"""Values as people write them into the environment."""

import ast
import json
from typing import Any


def listed(value: Any) -> Any:
    """Read words between commas or line ends, or a list as ``literal`` reads it; in quotes or not."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if text.startswith(("[", "{")):
        return literal(text)
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


def literal(value: Any) -> Any:
    """Read JSON or a Python literal, in quotes or not (``docker --env-file`` keeps quotes).

    Raises:
        ValueError: without the text.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[1] in "[{":
        text = text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("is neither JSON nor a Python literal") from None
