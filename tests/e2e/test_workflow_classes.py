"""Workflow classes of the user's own, from outside the repository."""

import sys
from pathlib import Path

import pytest

from tests.service_process import SERVE, service, started

DATA = {"key": "1", "messageId": "2", "text": "hello there", "history": []}

GOOD = '''
"""Workflows of a user's own."""

from pathlib import Path

from domain.workflow import LLMInferenceWorkflow


class Shout(LLMInferenceWorkflow):
    """Plain hooks."""

    def __init__(self, mark: str, times: int = 1) -> None:
        self._suffix = mark * times

    def setup(self) -> None:
        self._greeting = Path("greeting.txt").read_text()

    def postprocess(self, generation, request):
        return {"said": self._greeting + generation.text.upper() + self._suffix, "key": request.key}


class Whisper(LLMInferenceWorkflow):
    """Async hooks, and a backend of its own."""

    async def setup(self) -> None:
        self._model = str.lower

    async def preprocess(self, request):
        return request.text

    async def generate(self, prompt):
        return self._model(prompt)

    async def postprocess(self, generation, request):
        return generation + "..."
'''

BAD = """
from domain.workflow import LLMInferenceWorkflow

NUMBER = 5


class NoWorkflow:
    pass


class FailsInSetup(LLMInferenceWorkflow):
    def setup(self):
        raise FileNotFoundError("lexicon.txt")


class FailsInAsyncSetup(LLMInferenceWorkflow):
    async def setup(self):
        raise ConnectionError("no database")


class WantsAnArgument(LLMInferenceWorkflow):
    def __init__(self, labels):
        if len(labels) < 2:
            raise ValueError("two labels at least")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_workflows.py").write_text(GOOD)
    (tmp_path / "greeting.txt").write_text("> ")
    (tmp_path / "bad_workflows.py").write_text(BAD)
    (tmp_path / "needs_more.py").write_text("import package_that_nobody_has\n")
    (tmp_path / "broken_syntax.py").write_text("def\n")
    return tmp_path


def test_a_plain_workflow_with_arguments_from_the_working_directory(folder: Path) -> None:
    with service(
        cwd=folder,
        LLM_BACKEND="scripted",
        FLASK_LLM_WORKFLOW_CLASS="my_workflows.Shout",
        FLASK_LLM_WORKFLOW_POSITIONAL_ARGS="['!']",
        FLASK_LLM_WORKFLOW_KW_ARGS='{"times": 3}',
    ) as running:
        assert running.post(DATA).json() == {"said": "> HELLO THERE!!!", "key": "1"}


def test_an_async_workflow_from_pythonpath_named_in_a_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".env").write_text('FLASK_LLM_WORKFLOW_CLASS="my_workflows.Whisper"\nLLM_BACKEND=scripted\n')

    with service("--workers=2", cwd=elsewhere, PYTHONPATH=str(folder)) as running:
        assert running.post(DATA | {"text": "HEY"}).json() == "hey..."


def test_reload_serves_the_workflow_as_it_is_now(folder: Path) -> None:
    with service(
        "--reload", cwd=folder, LLM_BACKEND="scripted", FLASK_LLM_WORKFLOW_CLASS="my_workflows.Whisper"
    ) as running:
        assert running.post(DATA).json() == "hello there..."
        (folder / "my_workflows.py").write_text(GOOD.replace('generation + "..."', 'generation + "?"'))
        running.wait_for_log("Running on " + running.url + " (CTRL + C to quit)", 2, timeout_s=20)
        assert running.post(DATA).json() == "hello there?"


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    ("class_path", "arguments", "words"),
    [
        ("no_such_module.Workflow", "[]", "module no_such_module of the workflow class"),
        ("bad_workflows.Missing", "[]", "has no class Missing"),
        ("bad_workflows.NoWorkflow", "[]", "not a subclass of domain.workflow.LLMInferenceWorkflow"),
        ("bad_workflows.NUMBER", "[]", "not a subclass of domain.workflow.LLMInferenceWorkflow"),
        ("bad_workflows.WantsAnArgument", "[]", "0 positional and 0 keyword arguments"),
        ("bad_workflows.WantsAnArgument", "[['one']]", "two labels at least"),
        ("bad_workflows.FailsInSetup", "[]", "setup of the workflow FailsInSetup failed: FileNotFoundError"),
        ("bad_workflows.FailsInAsyncSetup", "[]", "ConnectionError: no database"),
        ("needs_more.Workflow", "[]", "package_that_nobody_has, which is not installed"),
        ("broken_syntax.Workflow", "[]", "cannot be imported: SyntaxError"),
        ("JustAName", "[]", "must be a module and a class"),
    ],
)
def test_each_thing_wrong_with_a_class_is_one_message_and_a_non_zero_exit(
    folder: Path, class_path: str, arguments: str, words: str, num_workers: int
) -> None:
    with started(
        f"--workers={num_workers}",
        "--bind=127.0.0.1:0",
        cwd=folder,
        LLM_BACKEND="scripted",
        FLASK_LLM_WORKFLOW_CLASS=class_path,
        FLASK_LLM_WORKFLOW_POSITIONAL_ARGS=arguments,
    ) as running:
        assert running.process.wait(30) == 78
        running._reader.join(5)

    messages = [line for line in running.lines if not line.startswith("{")]
    assert len(messages) == 1, running.log
    assert words in messages[0]


def test_a_wrong_setting_is_one_message_and_a_non_zero_exit(folder: Path) -> None:
    with started(cwd=folder, LLM_BACKEND="abacus") as running:
        assert running.process.wait(30) == 78
        running._reader.join(5)

    assert len(running.lines) == 1
    assert "LLM_BACKEND" in running.lines[0]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_model_that_is_damaged_is_one_message(tmp_path: Path, tiny_folder: Path, num_workers: int) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with started(f"--workers={num_workers}", "--bind=127.0.0.1:0", LLM_MODEL=str(tmp_path)) as running:
        assert running.process.wait(30) == 78
        running._reader.join(5)

    assert len([line for line in running.lines if "cannot start" in line]) == 1
    assert "tokenizer.json missing or changed" in running.log


def test_hypercorn_by_itself_serves_too(folder: Path) -> None:
    root = Path(__file__).parents[2]
    hypercorn = (str(Path(sys.executable).parent / "hypercorn"), "entrypoints.asgi:app")
    with service(
        command=hypercorn, cwd=folder, PYTHONPATH=str(root / "src"), LLM_BACKEND="scripted"
    ) as running:
        assert running.post(DATA).json() == "hello there"


def test_the_installed_command_serves(folder: Path) -> None:
    command = (str(Path(sys.executable).parent / "llm-inference-service"), *SERVE[3:])
    with service(command=command, cwd=folder, LLM_BACKEND="scripted") as running:
        assert running.post(DATA).json() == "hello there"
