"""What the README and the how-tos tell to run with files of the reader's own, run with tiny ones.

The rest is followed to the letter in tests/docs.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from adapters.ezkl_proof.circuit_folder import open_circuit_folder
from adapters.ezkl_proof.prover import EzklProver, ProverOptions
from entrypoints.cli import main
from tests.checkpoints import LLAMA, write_safetensors_checkpoint
from tests.contracts import NODE_MODULES
from tests.heads import write_head
from tests.walkthrough import ROOT, read_page

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROGRAM = ".venv/bin/llm-inference-service"


def commands_left_out(page: str) -> list[list[str]]:
    """Return the words of the service's commands in the blocks that are not followed."""
    blocks = read_page((ROOT / page).read_text(encoding="utf-8")).blocks
    texts = [block.text.replace("\\\n", " ") for block in blocks if block.kind == "not run"]
    lines = [shlex.split(line) for text in texts for line in text.splitlines()]
    return [words[1:] for words in lines if words and words[0] == PROGRAM]


def test_the_model_commands_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    places = {"/path/to/checkpoint": "checkpoint", "my-model": "model"}
    for command in commands_left_out("README.md"):
        assert main([str(tmp_path / places[word]) if word in places else word for word in command]) == 0

    assert capsys.readouterr().out.count("perplexity") == 2


async def test_a_circuit_is_tuned_and_proves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_head(tmp_path / "head.onnx", (4, 3))
    samples = np.random.default_rng(3).normal(0, 1, (20, 4)).tolist()
    (tmp_path / "samples.json").write_text(str(samples))
    (command,) = commands_left_out("docs/how-to/build-a-circuit.md")
    own = [str(tmp_path / Path(word).name) if "/" in word else word for word in command]

    assert main([*own, "--node-modules", str(NODE_MODULES)]) == 0
    shown = capsys.readouterr().out
    assert "label agreement" in shown
    assert shown.count("<- chosen") == 1
    assert main(["circuit", "inspect", own[-1]]) == 0
    assert "fits" in capsys.readouterr().out
    assert open_circuit_folder(Path(own[-1])).is_srs_insecure
    prover = EzklProver(Path(own[-1]), ProverOptions())
    await prover.open()
    result = await prover.prove(samples[0])
    await prover.close()
    assert result.values["outputs"][0] in {0, 1, 2}


@pytest.mark.parametrize(
    "target", ["run", "test", *re.findall(r"^\| `make ([a-z-]+)`", README, re.MULTILINE)]
)
def test_what_the_readme_tells_to_make_is_a_target(target: str) -> None:
    assert re.search(rf"^{target}: ", MAKEFILE, re.MULTILINE)
