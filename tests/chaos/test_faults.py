"""The service under faults: every accepted request has one end, nothing is lost, no answer is wrong."""

import os
from pathlib import Path

import pytest

from tests.chaos.callers import VECTOR_SIZE
from tests.chaos.fault_run import FaultRun
from tests.heads import write_head
from tests.proving import built_circuit

DURATION_S = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.timeout(DURATION_S + 240)
def test_faults_lose_nothing_and_make_nothing_wrong(tmp_path: Path, tiny_folder: Path) -> None:
    write_head(tmp_path / "head.onnx", (VECTOR_SIZE, 3))
    circuit = built_circuit(tmp_path / "head.onnx", tmp_path / "circuit")

    figures = FaultRun(tmp_path, tiny_folder, circuit, SEED).run(DURATION_S)

    print(figures)  # noqa: T201 - the figures
    assert figures.problems == []
    assert len(figures.faults) == 6
