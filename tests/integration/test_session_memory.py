"""What passes compute in, sessions share, and give back where nothing runs."""

import json
import subprocess
import sys
from pathlib import Path

PASSES = """
import json, sys
from pathlib import Path
import numpy as np
from adapters.onnx.model_folder import read_model_folder
from adapters.onnx.providers import ProviderChoice
from adapters.onnx.session import OnnxSession

def own_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))

session = OnnxSession(
    read_model_folder(Path(sys.argv[1])),
    ProviderChoice.CPU, num_threads=2, num_slots=5, max_length=512, reads_beside=True, max_guesses=7,
)
ids = np.arange(256)

def work():
    logits = session.prefill(4, ids, 0).copy()
    session.decode_beside(ids[:4], ids[:4], slot=4, chunk_ids=ids[:200], num_past=0, num_logits=1)
    session.verify(0, ids[:8], 9)
    return logits

first, busy, rested = work(), [], []
for _ in range(3):
    logits = work()
    busy.append(own_bytes())
    session.rest()
    for slot in range(5):
        session.trim_slot(slot, 0)
    rested.append(own_bytes())
print(json.dumps([busy, rested, bool((first == logits).all())]))
"""
MIB = 1 << 20


def test_memory_at_rest_is_the_same_however_much_was_computed(smollm2_folder: Path) -> None:
    # a process of its own: what others left in this one's allocator would count
    ran = subprocess.run(
        [sys.executable, "-c", PASSES, str(smollm2_folder)], capture_output=True, text=True, check=True
    )
    busy, rested, is_same_answer = json.loads(ran.stdout)

    kv_bytes = (256 + 4 * 17) * 46_080
    assert min(busy) - max(rested) > kv_bytes + 10 * MIB
    assert max(rested) - min(rested) < 4 * MIB
    assert is_same_answer
