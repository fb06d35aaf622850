"""The page of settings, of ``.env.example`` (texts, defaults) and of the class that checks them (values)."""

import html
import re
from typing import Any

from adapters.settings import Settings

SECTION = re.compile(r"^# -+ (.+?) -+$")
KEY = re.compile(r"^([A-Z_]+)=(.*)$")


def settings_page(example: str) -> str:
    """Return the page's Markdown."""
    schema = Settings.model_json_schema(by_alias=True)
    lines = [
        "# Settings",
        "",
        (
            "Environment variables, or lines of a `.env` file in the working directory; the environment "
            "wins. `doctor` says whether they hold. Lists and objects are JSON or Python literals."
        ),
        "",
    ]
    comment: list[str] = []
    for line in example.splitlines():
        if section := SECTION.match(line):
            lines += [f"## {section[1]}", ""]
        elif line.startswith("# "):
            comment.append(line[2:])
        elif key := KEY.match(line):
            about = "; ".join(
                part
                for part in (_values(schema["properties"][key[1]], schema), _default(key[2], comment))
                if part
            )
            lines += [f"### `{key[1]}`", "", *([about[0].upper() + about[1:] + ".", ""] if about else [])]
            lines += [*_text(comment), ""]
        else:
            comment = []
    return "\n".join(lines) + "\n"


def _default(value: str, comment: list[str]) -> str:
    if value:
        return f"default: `{value}`"
    return "" if "default" in " ".join(comment) else "no default"


def _text(comment: list[str]) -> list[str]:
    return [
        re.sub(r"\b((?:LLM|FLASK|HUGGING)_[A-Z_]+)", r"`\1`", html.escape(line, quote=False))
        for line in comment
    ]


def _values(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """Say which values a setting takes, as far as its JSON schema does."""
    if "$ref" in field:
        field = {**field, **schema["$defs"][field["$ref"].rpartition("/")[2]]}
    if "anyOf" in field:
        some = [option for option in field["anyOf"] if option.get("type") != "null"]
        return _values(some[0], schema) if len(some) == 1 else ""
    if "enum" in field:
        return "one of " + ", ".join(f"`{value}`" for value in field["enum"])
    if choices := re.fullmatch(r"\^\(([\w|]+)\)\$", field.get("pattern", "")):
        return "one of " + ", ".join(f"`{value}`" for value in choices[1].split("|"))
    names = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`"}
    text = names.get(field.get("type", ""), "")
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return " ".join(
        [text, *(f"{word} {field[bound]:g}" for bound, word in bounds.items() if bound in field)]
    ).strip()
