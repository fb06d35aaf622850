"""A workflow on infernet-ml's own base class runs unchanged."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from eth_abi.abi import decode, encode

from tests.service_process import ServiceProcess, service

PACKAGE = Path(sys.prefix) / "predecessor"
SOURCE = '''
"""As it was written for infernet-ml."""

import time
from typing import Any, Iterator

from infernet_ml.workflows.inference.base_inference_workflow import BaseInferenceWorkflow


class Echo(BaseInferenceWorkflow):
    def do_setup(self) -> Any:
        self.mark = self.kwargs["mark"] * self.args[0]

    def do_preprocessing(self, input_data: Any) -> Any:
        return input_data["text"] if isinstance(input_data, dict) else input_data

    def do_run_model(self, preprocessed_data: Any) -> Any:
        if preprocessed_data == "slow":
            time.sleep(2)
        if preprocessed_data == "bad":
            raise ValueError("cannot do " + preprocessed_data)
        return preprocessed_data.upper()

    def do_stream(self, preprocessed_input: Any) -> Iterator[Any]:
        for word in preprocessed_input.split():
            yield word + " "

    def do_postprocessing(self, input_data: Any, output_data: Any) -> Any:
        return output_data + self.mark
'''


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("predecessor")
    (folder / "old_workflow.py").write_text(SOURCE)
    with service(
        "--workers=1",
        LLM_BACKEND="scripted",
        FLASK_LLM_WORKFLOW_CLASS="old_workflow.Echo",
        FLASK_LLM_WORKFLOW_POSITIONAL_ARGS="[2]",
        FLASK_LLM_WORKFLOW_KW_ARGS="{'mark': '!'}",
        PYTHONPATH=f"{PACKAGE}:{folder}",
    ) as started:
        yield started


def test_it_answers_whatever_it_takes(running: ServiceProcess) -> None:
    assert running.post({"text": "my secret words"}).json() == "MY SECRET WORDS!!"


def test_it_answers_contracts(running: ServiceProcess) -> None:
    payload = {"source": 0, "data": encode(["string"], ["from a contract"]).hex()}
    reply = httpx2.post(f"{running.url}/service_output", json=payload).json()

    assert decode(["string"], bytes.fromhex(reply["raw_output"])) == ("FROM A CONTRACT!!",)


def test_it_streams(running: ServiceProcess) -> None:
    payload = {"source": 1, "destination": 2, "data": {"text": "one two"}}

    assert httpx2.post(f"{running.url}/service_output", json=payload).text == "one two "


def test_it_holds_nobody_else_up(running: ServiceProcess) -> None:
    with ThreadPoolExecutor(1) as caller:
        slow = caller.submit(running.post, {"text": "slow"})
        time.sleep(0.2)
        started_s = time.monotonic()
        assert running.post({"text": "quick"}).json() == "QUICK!!"
        assert not slow.done()
        assert time.monotonic() - started_s < 1
        assert slow.result().json() == "SLOW!!"


def test_its_errors_are_the_workflows(running: ServiceProcess) -> None:
    response = running.post({"text": "bad"})

    assert response.status_code == 500
    assert response.json()["description"] == "the workflow's generate failed (ValueError)"


def test_what_its_base_class_logs_stays_out_of_the_log(running: ServiceProcess) -> None:
    running.post({"text": "my secret words"})

    assert "secret" not in running.log.lower()
