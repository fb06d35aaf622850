"""A line of the log is one line of JSON, whatever is in it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("Zoë", "Zoë"),
        ("a\nb", "a\nb"),
        (3, 3),
        (None, None),
        ([1, "two"], [1, "two"]),
        ({"a": 1.5}, {"a": 1.5}),
        (Path("folder"), "folder"),
        (object, "<class 'object'>"),
        (math.inf, math.inf),
        ("half a pair \ud800", "half a pair \ud800"),
    ],
)
def test_a_value_is_written(
    value: Any,
    written: Any,
    capsys: pytest.CaptureFixture[str],
    configured_logs: Callable[[str, str], None],
) -> None:
    configured_logs("info", "json")

    structlog.get_logger().info("something happened", value=value)

    (line,) = capsys.readouterr().err.splitlines()
    read = json.loads(line)
    assert read["value"] == written
    assert (read["event"], read["level"]) == ("something happened", "info")
