"""One browser for all, and the services that the page is shown by."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from entrypoints.cli import main
from tests.browser.browser_page import launched
from tests.service_process import ServiceProcess, service

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_decision"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)  # how long a thing takes is the machine's affair
    with sync_playwright() as playwright:
        started = launched(playwright)
        yield started
        started.close()


@pytest.fixture(scope="session")
def echoing() -> Iterator[ServiceProcess]:
    """Answers with the message, a word every twentieth of a second."""
    with service(LLM_BACKEND="scripted", LLM_SCRIPTED_DELAY_S="0.05") as started:
        yield started


@pytest.fixture(scope="session")
def deciding(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The example as ``make run`` serves it."""
    circuit = tmp_path_factory.mktemp("example") / "circuit"
    flags = re.findall(r"`(--logrows [^`]+)`", (EXAMPLE / "report.md").read_text())[0]
    head = str(EXAMPLE / "head" / "head.onnx")
    assert main(["circuit", "build", head, "--inputs", "hashed", "--out", str(circuit), *flags.split()]) == 0
    with service(
        LLM_MODEL=str(smollm2_folder),
        LLM_DECISION_HEAD=str(EXAMPLE / "head"),
        LLM_CIRCUIT=str(circuit),
        LLM_WORKFLOWS=json.dumps(
            {
                "agent_decision": "domain.workflows.agent_decision.AgentDecisionWorkflow",
                "vector": "domain.workflows.vector_decision.VectorDecisionWorkflow",
            }
        ),
    ) as started:
        yield started
