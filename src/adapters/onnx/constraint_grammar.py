"""From a domain constraint to a grammar of llguidance's, and from its complaints to words of ours.

JSON is written compactly: no white space between its tokens, as a model that may write some may never end.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from llguidance import regex_to_lark

from adapters.onnx.constraint_numbers import with_exact_numbers
from domain.constraints import OutputConstraint
from domain.errors import FieldProblem, InvalidRequestError

FIELD = "constraint"
MAX_GRAMMAR_CHARACTERS = 131_072
MAX_DEPTH = 200
"""Of a schema; a deeper one could overflow the encoder's stack, since libraries move Python's own limit."""

TOO_COMPLEX = "is too complex"
TOO_DEEP = "is nested too deeply"
IMPOSSIBLE = "is fulfilled by no text"

REASONS: dict[str, str] = {
    "recursion limit exceeded": TOO_DEEP,
    TOO_COMPLEX: TOO_COMPLEX,
    "too deeply nested": TOO_DEEP,
    "maximum number of nested parentheses": TOO_DEEP,
    "too big": TOO_COMPLEX,
    "too large": TOO_COMPLEX,
    "too many": TOO_COMPLEX,
    "Too many": TOO_COMPLEX,
    "exceeds size limit": TOO_COMPLEX,
    "fuel": TOO_COMPLEX,
    "Current row has": TOO_COMPLEX,
    "able to determine if regex is empty": TOO_COMPLEX,
    "can't determine if patternProperty": TOO_COMPLEX,
    "look-around": "has a look-around, which is not supported",
    "lookarounds not supported": "has a look-around or a word boundary, which are not supported",
    "backreferences are not supported": "has a backreference, which is not supported",
    "unclosed group": "has a group that is not closed",
    "unopened group": "has a group that is not opened",
    "unclosed character class": "has a character class that is not closed",
    "unclosed counted repetition": "has a repetition that is not closed",
    "invalid repetition count range": "has a repetition that ends before it starts",
    "repetition operator missing expression": "repeats nothing",
    "unrecognized escape sequence": "has an escape sequence that is not known",
    "Unicode property not found": "has a Unicode property that is not known",
    "unknown special token": "names a special token that the model does not have",
    "unknown name": "names a rule that it does not define",
    "duplicate rule": "defines a rule twice",
    "no start rule found": "has no rule named start",
    "circular reference": "refers to itself in a circle",
    "not present in a registry": "refers to another document",
    "does not exist": "refers to what is not there",
    "oneOf constraints are not supported": "has a oneOf whose branches may overlap; use anyOf",
    "are not disjoint": "has patternProperties that may overlap",
    "Unknown format": "has a format that is not known",
    "Invalid type": "has a type that is not known",
    "Unimplemented keys": "has keywords that are not supported",
    "Unsatisfiable": IMPOSSIBLE,
    "NoExtension": IMPOSSIBLE,
}
"""The library's messages quote the caller's text, so a known phrase in one is told in words of our own."""

SCHEMA_KEYWORDS = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames",
    "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems", "unevaluatedProperties",
    "additionalItems", "contentEncoding", "contentMediaType", "contentSchema",
)  # fmt: skip
"""Of JSON Schema, that the library may refuse: words that are nobody's secret."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A constraint as llguidance takes it."""

    kind: str
    """The field of ``OutputConstraint`` that it comes from."""
    text: str
    """One line of JSON."""

    def refused(self, complaint: str) -> InvalidRequestError:
        """Return the error for what the library says of the grammar, or for a reason of our own."""
        reason = next((ours for phrase, ours in REASONS.items() if phrase in complaint), "cannot be compiled")
        keywords = [keyword for keyword in SCHEMA_KEYWORDS if f'"{keyword}"' in complaint]
        if "Unimplemented keys" in complaint and keywords:
            return _invalid(self.kind, f"{reason}: {', '.join(keywords)}")
        # the other kinds stand in a grammar of ours, whose places tell a caller nothing
        place = re.match(r"(?:at )?(\d{1,6})\((\d{1,6})\)", complaint) if self.kind == "grammar" else None
        return _invalid(self.kind, f"{reason} (line {place[1]}, column {place[2]})" if place else reason)


def grammar_of(constraint: OutputConstraint) -> Grammar:
    """Return the grammar of a constraint, which may still be one that the library refuses.

    Raises:
        InvalidRequestError: it is too long or too deep, or no JSON, or has numbers that cannot be kept.
    """
    if constraint.json_schema is not None:
        if _is_deeper(constraint.json_schema, MAX_DEPTH):
            raise _invalid("json_schema", TOO_DEEP)
        try:
            schema = with_exact_numbers(constraint.json_schema)
        except OverflowError as error:
            raise _invalid("json_schema", str(error)) from error
        # x-guidance is a schema's way to set the library's options, leniency among them: ours alone
        schema["x-guidance"] = {"whitespace_flexible": False}
        return _grammar("json_schema", {"json_schema": schema})
    if constraint.regex is not None:
        # "d": digits are ASCII's, whoever says \d
        return _grammar("regex", {"lark_grammar": f"start: /{regex_to_lark(constraint.regex, 'd')}/"})
    if constraint.choices is not None:
        literals = " | ".join(json.dumps(choice) for choice in constraint.choices)
        return _grammar("choices", {"lark_grammar": f"start: {literals}"})
    return _grammar("grammar", {"lark_grammar": constraint.grammar})


def _grammar(kind: str, definition: dict[str, Any]) -> Grammar:
    try:
        text = json.dumps({"grammars": [definition]}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _invalid(kind, "is not JSON") from error
    if len(text) > MAX_GRAMMAR_CHARACTERS:
        raise _invalid(kind, f"is longer than {MAX_GRAMMAR_CHARACTERS:,} characters of JSON")
    return Grammar(kind, text)


def _is_deeper(definition: dict[str, Any], max_depth: int) -> bool:
    level: list[Any] = [definition]
    for _ in range(max_depth):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _invalid(kind: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(FieldProblem(f"{FIELD}.{kind}", reason))
