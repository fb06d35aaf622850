"""The whole service is killed while it works: nothing accepted is lost, nothing is done twice."""

from pathlib import Path

import pytest

from tests.crash import VECTOR_SIZE, CrashRun
from tests.heads import write_head
from tests.proving import built_circuit


@pytest.mark.timeout(170)
def test_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    write_head(tmp_path / "head.onnx", (VECTOR_SIZE, 3))
    circuit = built_circuit(tmp_path / "head.onnx", tmp_path / "circuit")
    figures = CrashRun(tmp_path, circuit, seed=1).run(num_kills=6, num_requests=40)

    print(figures)  # noqa: T201 - the figures
    assert figures.problems == []
    assert sum(figures.answers.values()) == 40
