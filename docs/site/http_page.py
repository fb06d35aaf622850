"""The page of the HTTP interface, of the document that the service gives at ``/openapi.json``."""

import json
from typing import Any

from pydantic import BaseModel

from domain.requests import LLMRequest
from domain.workflows.summarizer import SummarizerWorkflow
from domain.workflows.vector_decision import VectorDecisionWorkflow
from entrypoints.http.openapi import openapi_document

Schema = dict[str, Any]

DATA: dict[str, type[BaseModel]] = {
    "default": LLMRequest,
    "vector_decision": VectorDecisionWorkflow.request_type,
    "summarizer": SummarizerWorkflow.request_type,
}
"""What ``data`` is: a service's own document has what its own workflows read."""


def http_page() -> str:
    """Return the page's Markdown."""
    document = openapi_document(DATA, has_tokens=True, has_proofs=True)
    lines = [
        "# HTTP",
        "",
        (
            "The service gives this as OpenAPI 3.1 at `/openapi.json`, with what its own workflows read. "
            "Where `LLM_AUTH_TOKENS` is set, a request needs `Authorization: Bearer TOKEN`, except where "
            "it says *open*."
        ),
        "",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _operation(f"{method.upper()} {path}", operation, is_open="security" not in operation)
    lines += ["## Objects", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", *_object(schema), ""]
    return "\n".join(lines)


def _operation(title: str, operation: dict[str, Any], *, is_open: bool) -> list[str]:
    lines = [f"## `{title}`", "", operation["summary"] + (" (*open*)." if is_open else "."), ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | what |", "|---|---|---|---|"]
        lines += [
            f"| `{p['name']}` | {p['in']} | {_type(p['schema'])} | {_cell(p['description'])} |"
            for p in parameters
        ]
        lines.append("")
    if body := operation.get("requestBody"):
        lines += ["Body: " + ", ".join(_type(media["schema"]) for media in body["content"].values()), ""]
    errors: dict[str, list[str]] = {}
    lines += ["| status | media type | body |", "|---|---|---|"]
    for status, response in operation["responses"].items():
        for media_type, media in response.get("content", {"": {"schema": None}}).items():
            shown = "" if media["schema"] is None else _type(media["schema"])
            if status >= "4":
                errors.setdefault(shown, []).append(status)
            else:
                lines.append(f"| {status} {response['description']} | {media_type} | {shown} |")
    lines += [f"| {', '.join(statuses)} | application/json | {shown} |" for shown, statuses in errors.items()]
    return [*lines, ""]


def _object(schema: Schema) -> list[str]:
    lines = [_prose(schema["description"]), ""] if "description" in schema else []
    properties = schema.get("properties")
    if not properties:
        return [*lines, _type(schema)]
    lines += ["| field | type | default | what |", "|---|---|---|---|"]
    required = set(schema.get("required", ()))
    for name, field in properties.items():
        default = f"`{json.dumps(field['default'])}`" if field.get("default") is not None else ""
        text = field.get("description", "")
        shown = "" if text == "not offered" else _type(field)
        lines.append(
            f"| `{name}` | {shown} | {'*required*' if name in required else default} | {_cell(text)} |"
        )
    return lines


def _type(schema: Schema) -> str:
    """Say what a schema takes, in a table's cell."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key, word in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " and ")):
        if key in schema:
            options = dict.fromkeys(_type(option) for option in schema[key])
            return word.join(option for option in options if key != "allOf" or option != "any")
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    names = schema.get("type", "any")
    text = " or ".join(names) if isinstance(names, list) else str(names)
    if "items" in schema:
        text += f" of {_type(schema['items'])}"
    if "properties" in schema:
        text += " with " + ", ".join(f"`{name}`" for name in schema["properties"])
    return text + _bounds(schema)


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<",
        "minLength": "length ≥", "maxLength": "length ≤", "minItems": "items ≥", "maxItems": "items ≤",
    }  # fmt: skip
    bounds = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" ({', '.join(bounds)})" if bounds else ""


def _cell(text: str) -> str:
    return _prose(text).replace("\n", " ").replace("|", "\\|")


def _prose(text: str) -> str:
    # docstrings mark code as reStructuredText does
    return text.replace("``", "`")
