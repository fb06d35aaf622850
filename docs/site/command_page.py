"""The page of commands, of the parsers of the command line."""

import argparse
import os

from entrypoints.cli import build_parser


def command_page() -> str:
    """Return the page's Markdown."""
    os.environ["COLUMNS"] = "100"
    os.environ["NO_COLOR"] = "1"
    lines = [
        "# Commands",
        "",
        (
            "`serve` passes its arguments to Hypercorn. Exit status: 0, 1 where a check or the service "
            "failed, 2 for a wrong command line, 78 for wrong settings."
        ),
        "",
    ]
    for parser in _with_subcommands(build_parser()):
        lines += [f"## `{parser.prog}`", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def _with_subcommands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its subcommands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for child in action.choices.values():
                found += _with_subcommands(child)
    return found
