"""``aiperf``, as it is, drives a real service; the Makefile names its executable in ``AIPERF``."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service_process import ServiceProcess, service

NUM_REQUESTS = 12
OUTPUT_TOKENS = 8
MODEL_ID = "smollm2"
START_AND_RUN_S = 160


@pytest.fixture(scope="module")
def running(smollm2_folder: Path) -> Iterator[ServiceProcess]:
    with service(LLM_MODEL=str(smollm2_folder), LLM_AUTH_TOKENS="a-token-for-aiperf") as started:
        yield started


@pytest.fixture
def profile(running: ServiceProcess, smollm2_folder: Path, tmp_path: Path) -> Any:
    """Runs aiperf with some options; returns its summary."""

    def run(*options: str) -> Any:
        folder = tmp_path / "artifacts"
        common = ["--model", MODEL_ID, "--url", running.url, "--api-key", "a-token-for-aiperf"]
        sizes = ["--concurrency", "3", "--request-count", str(NUM_REQUESTS), "--isl", "40"]
        quiet = ["--ui", "none", "--artifact-dir", str(folder), "--tokenizer", str(smollm2_folder)]
        done = subprocess.run(
            [os.environ["AIPERF"], "profile", *common, *sizes, *quiet, *options],
            capture_output=True,
            text=True,
            timeout=START_AND_RUN_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((folder / "profile_export_aiperf.json").read_text())

    return run


def assert_all_answered(summary: Any) -> None:
    assert summary["request_count"]["avg"] == NUM_REQUESTS
    assert summary["error_summary"] == []


@pytest.mark.parametrize("endpoint", ["chat", "embeddings"])
def test_every_request_is_answered(profile: Any, endpoint: str) -> None:
    output = ["--osl", str(OUTPUT_TOKENS)] if endpoint == "chat" else []

    assert_all_answered(profile("--endpoint-type", endpoint, *output))


def test_a_stream_is_timed_and_its_tokens_are_counted(profile: Any) -> None:
    summary = profile(
        "--endpoint-type", "chat", "--streaming", "--osl", str(OUTPUT_TOKENS), "--use-server-token-count"
    )

    assert_all_answered(summary)
    assert summary["time_to_first_token"]["min"] > 0
    assert summary["inter_token_latency"]["min"] > 0
    assert 0 < summary["output_sequence_length"]["max"] <= OUTPUT_TOKENS
    assert summary["usage_prompt_tokens"]["min"] >= 40
