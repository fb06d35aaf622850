"""Schemathesis, as it is, against our OpenAPI document; its executable is named in ``SCHEMATHESIS``.

All phases, valid and invalid data, NUL bytes, stateful links: no 5xx, no answer that the document does not
tell of, nothing invalid accepted, nothing valid refused.
"""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from tests.checkpoints import LLAMA, NO_SYSTEM_ROLE, write_safetensors_checkpoint
from tests.service_process import service

FOLDER = Path(__file__).parent
MIN_CASES = 5000
MAX_EXAMPLES = 290
"""Of each operation, in each phase."""
TIMEOUT_S = 1500


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with room for what is generated, and a template for every role."""
    folder = tmp_path_factory.mktemp("model")
    write_safetensors_checkpoint(replace(LLAMA, context_length=1024), folder / "checkpoint")
    config = folder / "checkpoint" / "tokenizer_config.json"
    config.write_text(config.read_text().replace(NO_SYSTEM_ROLE, ""))
    options = BuildOptions(precision=Precision.FP32)
    build_model_folder(folder / "checkpoint", folder / "model", options, SilentReporter())
    return folder / "model"


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_service_does_what_its_document_says(model: Path, tmp_path: Path) -> None:
    workflows = '{"named": "domain.workflows.chat.ChatWorkflow"}'
    with service(LLM_MODEL=str(model), LLM_WORKFLOWS=workflows) as running:
        executable = os.environ["SCHEMATHESIS"]
        done = subprocess.run(
            [
                *(executable, "--config-file", str(FOLDER / "schemathesis.toml"), "run"),
                *(f"{running.url}/openapi.json", "--mode", "all", "--continue-on-failure", "--seed", "1"),
                *("--phases", "examples,coverage,fuzzing,stateful", "-n", str(MAX_EXAMPLES)),
                # an answer to many prompts may take its time
                *("--request-timeout", "120"),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(FOLDER)},
        )
        assert running.stop() == 0

    assert done.returncode == 0, done.stdout + done.stderr
    (num_cases,) = re.findall(r"(\d+) generated", done.stdout)
    print(f"{num_cases} cases")  # noqa: T201 - the figure
    assert int(num_cases) >= MIN_CASES
