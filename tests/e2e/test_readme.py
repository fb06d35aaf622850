"""The README's commands and examples, run."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from entrypoints.cli import main
from tests.checkpoints import LLAMA, write_safetensors_checkpoint
from tests.contracts import NODE_MODULES
from tests.heads import write_head
from tests.service_process import ServiceProcess, service

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SERVE = [".venv/bin/llm-inference-service", "serve", "--bind=127.0.0.1:4999"]


def blocks(heading: str, language: str) -> list[str]:
    """Return the code blocks of a section."""
    section = re.split(r"^#+ ", README.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A line of shell: its variables and its words."""

    variables: dict[str, Any]
    words: list[str]


def commands(heading: str) -> list[Command]:
    """Return the commands of a section; exported variables hold for those after them."""
    found = []
    exported: dict[str, str] = {}
    for block in blocks(heading, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            own: dict[str, str] = {}
            if words[:1] == ["export"]:
                exported |= dict([words[1].split("=", 1)])
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                own |= dict([words.pop(0).split("=", 1)])
            if words:
                found.append(Command(exported | own, words))
    return found


def serves(heading: str) -> list[Command]:
    return [command for command in commands(heading) if command.words == SERVE]


def send(command: Command, running: ServiceProcess) -> httpx2.Response:
    """Send a curl command's request to a running service."""
    url, body = command.words[3], command.words[command.words.index("-d") + 1]
    assert command.words[:3] == ["curl", "-X", "POST"]
    assert url.startswith("http://localhost:4999/")
    headers = {"Content-Type": "application/json"}
    target = url.replace("http://localhost:4999", running.url)
    return httpx2.post(target, content=body, headers=headers, timeout=60)


def curls(heading: str) -> list[Command]:
    return [command for command in commands(heading) if command.words[0] == "curl"]


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")

    assert [command.words for command in commands("Two commands")] == [["make", "run"], ["make", "test"]]
    assert re.search(r"^run: ", makefile, re.MULTILINE)
    assert re.search(r"^test: ", makefile, re.MULTILINE)


@pytest.fixture(scope="module")
def model(smollm2_folder: Path) -> dict[str, Any]:
    return {"LLM_MODEL": str(smollm2_folder)}


def test_the_requests_are_answered_as_shown(model: dict[str, Any]) -> None:
    plain, sampled = curls("A request")
    (shown,) = blocks("A request", "json")

    with service(**model) as running:
        answer = send(plain, running)
        sampled_answer = send(sampled, running)

    # another processor may round to other words further on
    assert answer.json()[:6] == json.loads(shown)[:6]
    assert sampled_answer.status_code == 200
    assert int(sampled_answer.headers["x-completion-tokens"]) <= 60


def test_the_backend_is_swapped_by_a_line() -> None:
    (command,) = serves("Swap the backend")

    with service(**command.variables) as running:
        data = {"key": "1", "messageId": "2", "text": "hello", "history": []}
        assert running.post(data).json() == "hello"


def test_the_example_of_a_workflow_works(tmp_path: Path, model: dict[str, Any]) -> None:
    (source,) = blocks("Write a workflow", "python")
    (tmp_path / "my_workflow.py").write_text(source)
    command = serves("Write a workflow")[0]

    with service(cwd=tmp_path, **command.variables, **model) as running:
        data = {"key": "1", "messageId": "2", "text": "Say hello.", "history": []}
        reply = running.post(data).json()

    assert set(reply) == {"answer", "words"}
    assert reply["answer"] == reply["answer"].upper()
    assert reply["words"] == len(reply["answer"].split()) > 0


def test_the_example_of_a_named_workflow_works(model: dict[str, Any]) -> None:
    workflows = serves("Write a workflow")[1].variables["LLM_WORKFLOWS"]
    (request,) = curls("Write a workflow")

    with service(LLM_WORKFLOWS=workflows, **model) as running:
        reply = send(request, running).json()

    assert set(reply["probabilities"]) == {"good", "bad"}


def test_the_proof_commands_and_request_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (request,) = curls("Proofs")
    num_inputs = len(json.loads(request.words[request.words.index("-d") + 1])["data"]["inputs"])
    write_head(tmp_path / "head.onnx", (num_inputs, 3))
    samples = np.random.default_rng(3).normal(0, 1, (20, num_inputs)).tolist()
    (tmp_path / "samples.json").write_text(json.dumps(samples))
    places = {name: str(tmp_path / name) for name in ("head.onnx", "samples.json", "circuits/head")}
    for command in commands("Proofs"):
        if "circuit" in command.words:
            arguments = [places.get(word, word) for word in command.words[1:]]
            extra = ["--node-modules", str(NODE_MODULES)] if "build" in arguments else []
            assert main([*arguments, *extra]) == 0
    assert "fits" in capsys.readouterr().out

    (command,) = serves("Proofs")
    settings = command.variables | {"LLM_CIRCUIT": places[command.variables["LLM_CIRCUIT"]]}
    with service(LLM_BACKEND="scripted", **settings) as running:
        reply = send(request, running).json()

    (tmp_path / "reply.json").write_text(json.dumps(reply))
    (check,) = [command for command in commands("Proofs") if "verify" in command.words]
    places["reply.json"] = str(tmp_path / "reply.json")
    assert main([places.get(word, word) for word in check.words[1:]]) == 0
    assert reply["action"] in {"noop", "buy", "sell"}
    assert reply["proof"]["calldata"]["verifyProof"].startswith("0x1e8e1e13")


def test_the_model_commands_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_safetensors_checkpoint(LLAMA, tmp_path / "checkpoint")
    for command in commands("Models"):
        assert command.words[0] == SERVE[0]
        places = {"/path/to/checkpoint": "checkpoint", "my-model": "model"}
        arguments = [str(tmp_path / places[word]) if word in places else word for word in command.words[1:]]
        assert main(arguments) == 0

    assert capsys.readouterr().out.count("perplexity") == 2


def test_every_file_that_is_linked_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)

    missing = [
        link for link in links if "://" not in link and not (Path(__file__).parents[2] / link).exists()
    ]
    assert missing == []


def test_the_extra_suites_are_targets_of_the_makefile() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")

    for target in re.findall(r"^\| `make ([a-z-]+)`", README, re.MULTILINE):
        assert re.search(rf"^{target}: ", makefile, re.MULTILINE), target
