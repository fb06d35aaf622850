"""Constraints as grammars, and the library's complaints in words that quote nobody."""

import json
from typing import Any

import pytest

from adapters.onnx.constraint_grammar import MAX_GRAMMAR_CHARACTERS, Grammar, grammar_of
from domain.constraints import OutputConstraint
from domain.errors import InvalidRequestError

SECRET = "sesame"


def definition_of(constraint: OutputConstraint) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(grammar_of(constraint).text)["grammars"][0]
    return definition


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def test_a_schema_cannot_set_the_librarys_options() -> None:
    constraint = OutputConstraint(json_schema={"type": "object", "x-guidance": {"lenient": True}})

    assert definition_of(constraint)["json_schema"]["x-guidance"] == {"whitespace_flexible": False}


@pytest.mark.parametrize(
    ("bound", "asked", "passed_on"),
    [
        ("minimum", 2**53, 2**53),
        ("minimum", 2**53 + 1, 2**53 + 2),
        ("exclusiveMinimum", -(2**53) - 1, -(2**53)),
        ("maximum", 2**53 + 3, 2**53 + 2),
        ("maximum", 2**63 - 1, 2**63 - 1024),
        ("exclusiveMaximum", -(2**53) - 1, -(2**53) - 2),
    ],
)
def test_a_bound_that_no_double_holds_moves_inward(bound: str, asked: int, passed_on: int) -> None:
    schema = {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer", bound: asked}]}}}

    read = definition_of(OutputConstraint(json_schema=schema))["json_schema"]

    assert read["properties"]["n"]["anyOf"] == [{"type": "integer", bound: passed_on}]


@pytest.mark.parametrize("listed", [{"enum": [1, 2**53 + 1]}, {"const": {"a": [-(2**53) - 1]}}])
def test_a_listed_integer_that_no_double_holds_is_refused(listed: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"has an integer beyond 2\^53") as caught:
        grammar_of(OutputConstraint(json_schema={"items": listed}))

    assert caught.value.problems[0].field == "constraint.json_schema"


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    properties = {"enum": {"type": "integer", "maximum": 2**53 + 1}, "minimum": {"const": 1}}

    read = definition_of(OutputConstraint(json_schema={"properties": properties}))["json_schema"]

    assert read["properties"]["enum"]["maximum"] == 2**53
    assert read["properties"]["minimum"] == {"const": 1}


@pytest.mark.parametrize(
    ("regex", "lark"),
    [("a/b", r"start: /a\/b/"), (r"a\/b", r"start: /a\/b/"), (r"a\\/b", r"start: /a\\\/b/")],
)
def test_no_slash_ends_a_regular_expression(regex: str, lark: str) -> None:
    assert definition_of(OutputConstraint(regex=regex))["lark_grammar"] == lark


def test_a_grammar_is_lark_even_where_it_looks_like_the_librarys_own_json() -> None:
    own = '{"grammars": []}'

    assert definition_of(OutputConstraint(grammar=own)) == {"lark_grammar": own}


def test_a_grammar_is_one_line() -> None:
    assert "\n" not in grammar_of(OutputConstraint(grammar='start: "a"\n// more\n')).text


@pytest.mark.parametrize(
    ("constraint", "problem"),
    [
        (OutputConstraint(json_schema=nested(100_000)), "constraint.json_schema: is nested too deeply"),
        (OutputConstraint(json_schema={"minimum": float("nan")}), "constraint.json_schema: is not JSON"),
        (OutputConstraint(json_schema={"enum": {1}}), "constraint.json_schema: is not JSON"),
        (
            OutputConstraint(choices=("x" * 4096,) * 40),
            f"constraint.choices: is longer than {MAX_GRAMMAR_CHARACTERS:,} characters of JSON",
        ),
    ],
)
def test_what_is_no_grammar_is_refused_by_its_field(constraint: OutputConstraint, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        grammar_of(constraint)

    assert str(raised.value) == problem


@pytest.mark.parametrize(
    ("kind", "complaint", "problem"),
    [
        ("regex", f"at 1(8): invalid regex {SECRET}: unclosed group", "has a group that is not closed"),
        ("grammar", f'at 3(4): duplicate rule: "{SECRET}"', "defines a rule twice (line 3, column 4)"),
        ("json_schema", f'Unimplemented keys: ["{SECRET}", "not"]', "has keywords that are not supported: not"),  # noqa: E501 - a table
        ("json_schema", f'Unimplemented keys: ["{SECRET}"]', "has keywords that are not supported"),
        ("json_schema", f"something about {SECRET}", "cannot be compiled"),
    ],
)  # fmt: skip
def test_a_complaint_is_told_without_the_callers_words(kind: str, complaint: str, problem: str) -> None:
    assert str(Grammar(kind, "{}").refused(complaint)) == f"constraint.{kind}: {problem}"
