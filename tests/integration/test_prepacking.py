"""Sessions of several graphs share one copy of the weights, as ONNX Runtime lays them out."""

import json
import subprocess
import sys
from pathlib import Path

LOADS = """
import json, sys
from pathlib import Path
import numpy as np
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession

def own_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))

folder = read_model_folder(Path(sys.argv[1]))
before, taken = own_bytes(), []
for options in ({}, {"reads_beside": True, "max_guesses": 7}):
    session = OnnxSession(
        folder, ProviderChoice.CPU, num_threads=1, num_slots=1, max_length=64, **options
    )
    session.prefill(0, np.arange(8), 0)
    taken.append(own_bytes() - before)
    del session
    before = own_bytes()
print(json.dumps([*taken, sorted(folder.verify_files)]))
"""


def test_three_graphs_more_take_less_than_one_copy_of_the_weights(smollm2_folder: Path) -> None:
    # a process of its own: what others left in this one's allocator would be taken again
    ran = subprocess.run(
        [sys.executable, "-c", LOADS, str(smollm2_folder)], capture_output=True, text=True, check=True
    )
    alone, together, widths = json.loads(ran.stdout)

    weights_size = 137 << 20
    assert widths == [4, 8]
    assert alone < weights_size
    assert together < weights_size
