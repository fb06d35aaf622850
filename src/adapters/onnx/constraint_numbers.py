"""Integers of a JSON schema that llguidance would take for others, since it reads numbers as doubles.

A bound beyond 2^53 moves inward to the next double, so that what fulfils it fulfils the one that was asked
for. What is listed has no neighbour to stand for it.
"""

import math
from typing import Any

LARGEST_EXACT = 2**53
INWARD = {
    "minimum": math.inf,
    "exclusiveMinimum": math.inf,
    "maximum": -math.inf,
    "exclusiveMaximum": -math.inf,
}

SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Their values have names that are no keywords."""


def with_exact_numbers(schema: Any) -> Any:
    """Return a schema that means in doubles what this one means.

    Raises:
        OverflowError: ``enum`` or ``const`` has an integer beyond 2^53.
    """
    if isinstance(schema, list):
        return [with_exact_numbers(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _with_exact_numbers(name, value) for name, value in schema.items()}


def _with_exact_numbers(name: str, value: Any) -> Any:
    if name in SCHEMAS_BY_NAME and isinstance(value, dict):
        return {key: with_exact_numbers(schema) for key, schema in value.items()}
    if name in {"enum", "const"} and _has_inexact(value):
        raise OverflowError(f"{name} has an integer beyond 2^53")
    if name in INWARD and _is_inexact(value):
        return _nearest_double(value, INWARD[name])
    return with_exact_numbers(value)


def _nearest_double(integer: int, towards: float) -> int:
    nearest = float(integer)
    is_past = nearest < integer if towards > 0 else nearest > integer
    return int(math.nextafter(nearest, towards) if is_past else nearest)


def _is_inexact(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST_EXACT


def _has_inexact(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_inexact, value.values()))
    if isinstance(value, list):
        return any(map(_has_inexact, value))
    return _is_inexact(value)
