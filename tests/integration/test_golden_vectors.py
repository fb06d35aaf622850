"""The golden vectors are what ethers gives."""

import json
import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_vectors_on_file_are_those_that_ethers_makes() -> None:
    node = Path(sys.executable).parent / "node"
    printed = subprocess.run(
        [str(node), str(GOLDEN / "codecs.mjs")], check=True, capture_output=True, text=True
    )

    assert json.loads(printed.stdout) == json.loads((GOLDEN / "codecs.json").read_text())
