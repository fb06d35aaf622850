"""The environment, and its description in .env.example."""

import re
from pathlib import Path
from typing import Any

import pytest

from adapters.settings import Backend, Settings, read_settings
from domain.errors import ConfigurationError
from domain.generation import SamplingParameters

EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in example_keys():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def example_lines() -> list[str]:
    return EXAMPLE.read_text(encoding="utf-8").splitlines()


def example_keys() -> list[str]:
    return [line.partition("=")[0] for line in example_lines() if re.match(r"[A-Z_]+=", line)]


def setting_keys() -> list[str]:
    return [str(field.validation_alias) for field in Settings.model_fields.values()]


def test_the_example_describes_each_setting_once() -> None:
    assert sorted(example_keys()) == sorted(setting_keys())


def test_each_key_of_the_example_stands_under_a_comment() -> None:
    lines = example_lines()
    for index, line in enumerate(lines):
        if re.match(r"[A-Z_]+=", line):
            above = next(entry for entry in reversed(lines[:index]) if not re.match(r"[A-Z_]+=", entry))
            assert above.startswith("# "), line


def test_the_values_of_the_example_are_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    defaults = read_settings()
    (tmp_path / ".env").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")

    assert read_settings() == defaults


@pytest.mark.parametrize(
    "text", ['["a", 1, null]', "['a', 1, None]", "'[\"a\", 1, null]'", "\"['a', 1, None]\"", "('a', 1, None)"]
)
def test_arguments_are_json_or_python_literals_in_quotes_or_not(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("FLASK_LLM_WORKFLOW_POSITIONAL_ARGS", text)

    assert read_settings().workflow_positional_args == ["a", 1, None]


def test_keyword_arguments_are_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_LLM_WORKFLOW_KW_ARGS", "{'labels': ['a', 'b'], 'strict': True}")

    assert read_settings().default_workflow.kwargs == {"labels": ["a", "b"], "strict": True}


def test_several_workflows_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_WORKFLOWS", '{"mood": {"class": "m.C", "args": [["a"]]}, "echo": "m.E"}')

    workflows = read_settings().workflows

    assert workflows["mood"].class_path == "m.C"
    assert workflows["mood"].args == [["a"]]
    assert workflows["echo"].class_path == "m.E"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_BACKEND", "tensorflow"),
        ("FLASK_LLM_WORKFLOW_POSITIONAL_ARGS", "{'a': 1}"),
        ("FLASK_LLM_WORKFLOW_POSITIONAL_ARGS", "[1, 2"),
        ("FLASK_LLM_WORKFLOW_KW_ARGS", "[1]"),
        ("FLASK_LLM_WORKFLOW_KW_ARGS", "__import__('os').getcwd()"),
        ("LLM_WORKFLOWS", '{"a/b": "m.C"}'),
        ("LLM_WORKFLOWS", '{"a": {"args": []}}'),
        ("LLM_DEFAULT_PARAMETERS", '{"max_token": 1}'),
        ("LLM_MAX_CONTEXT_TOKENS", "-51"),
        ("LLM_REQUEST_TIMEOUT_S", "soon"),
        ("LLM_MODEL_PRECISION", "int3"),
        ("LLM_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_one_message_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name) as caught:
        read_settings()

    assert value not in str(caught.value)


def test_tokens_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_secret")
    monkeypatch.setenv("LLM_OPENAI_API_KEY", "sk-secret")

    assert "secret" not in repr(read_settings())


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LLM_BACKEND=openai\nLLM_DEFAULT_PARAMETERS={'max_tokens': 9}\n")
    monkeypatch.setenv("LLM_BACKEND", "scripted")

    settings = read_settings()

    assert settings.backend is Backend.SCRIPTED
    assert settings.default_parameters == SamplingParameters(max_tokens=9)


def test_a_workflow_has_a_bound_of_its_own_on_answers_until_the_settings_say() -> None:
    def of_a_workflow(**parameters: int | None) -> int | None:
        settings = Settings(_env_file=None, LLM_DEFAULT_PARAMETERS=parameters)
        return settings.sampling_defaults.max_tokens

    assert of_a_workflow() == of_a_workflow(top_k=5) == 256
    assert of_a_workflow(max_tokens=9) == 9
    assert of_a_workflow(max_tokens=None) is None


def test_every_setting_has_a_default() -> None:
    required: list[Any] = [name for name, field in Settings.model_fields.items() if field.is_required()]

    assert required == []


def test_settings_that_are_no_text_are_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"LLM_SERVICE_ID=\xff\n")

    with pytest.raises(ConfigurationError, match=r"\.env cannot be read: UnicodeDecodeError"):
        read_settings()
