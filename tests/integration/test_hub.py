"""Models by their Hub name, fetched by the real client library from a small Hub of our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.huggingface import fetch_model
from adapters.onnx.builder import SilentReporter
from domain.errors import ConfigurationError
from tests.checkpoints import LLAMA, write_gguf_checkpoint, write_safetensors_checkpoint
from tests.hub_server import Hub, serving

NAME = "acme/tiny-llama"


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    write_safetensors_checkpoint(LLAMA, tmp_path / "repository")
    (tmp_path / "repository" / "README.md").write_text("a tiny model")
    return Hub(NAME, tmp_path / "repository")


def fetch(hub: Hub, cache_dir: Path, token: str | None = None, name: str = NAME) -> Path:
    return fetch_model(name, cache_dir, token=token, report=SilentReporter(), endpoint=hub.url)


def test_the_doctor_fetches_and_builds_a_model_by_its_name_once(hub: Hub, tmp_path: Path) -> None:
    def doctor() -> str:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "LLM_MODEL": NAME,
            "LLM_CACHE_DIR": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-m", "entrypoints.cli", "doctor"]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    with serving(hub):
        first = doctor()
        num_downloads = hub.num_downloads
        second = doctor()

    assert "2 layers, context 256; checksums match" in first
    assert second == first
    assert hub.num_downloads == num_downloads == 4


def test_only_what_is_needed_is_fetched(hub: Hub, tmp_path: Path) -> None:
    with serving(hub):
        folder = fetch(hub, tmp_path / "cache")

    assert not (folder / "README.md").exists()
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize("name", [f"{NAME}/sub/q8.gguf", f"{NAME}:sub/q8.gguf"])
def test_a_named_gguf_file_is_fetched(tmp_path: Path, name: str) -> None:
    (tmp_path / "repository" / "sub").mkdir(parents=True)
    write_gguf_checkpoint(LLAMA, tmp_path / "repository" / "sub" / "q8.gguf")
    with serving(Hub(NAME, tmp_path / "repository")) as hub:
        file = fetch(hub, tmp_path / "cache", name=name)

    assert file.name == "q8.gguf"
    assert file.is_file()


def test_a_private_repository_is_fetched_with_its_token(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_right"
    with serving(hub):
        fetch(hub, tmp_path / "cache", token="hf_right")

    assert hub.tokens_seen == {"Bearer hf_right"}


@pytest.mark.parametrize(
    ("token", "is_gated", "words"),
    [
        (None, False, "set HUGGING_FACE_HUB_TOKEN"),
        ("hf_wrong", False, "HUGGING_FACE_HUB_TOKEN was refused"),
        ("hf_wrong", True, "gated"),
    ],
)
def test_a_wrong_token_is_one_message_without_the_token(
    hub: Hub, tmp_path: Path, token: str | None, is_gated: bool, words: str
) -> None:
    hub.token, hub.is_gated = "hf_right", is_gated
    with serving(hub), pytest.raises(ConfigurationError, match=words) as caught:
        fetch(hub, tmp_path / "cache", token=token)

    assert "hf_" not in str(caught.value)


def test_a_download_that_breaks_off_is_one_message_and_is_resumed_by_the_next_start(
    hub: Hub, tmp_path: Path
) -> None:
    hub.breaks_off = True
    with serving(hub):
        with pytest.raises(ConfigurationError, match="start again to resume"):
            fetch(hub, tmp_path / "cache")
        hub.breaks_off = False
        folder = fetch(hub, tmp_path / "cache")

    for file in folder.iterdir():
        assert file.read_bytes() == (hub.folder / file.name).read_bytes()


def test_without_a_network_a_model_fetched_before_is_used(hub: Hub, tmp_path: Path) -> None:
    with serving(hub):
        fetched = fetch(hub, tmp_path / "cache")

    assert fetch(hub, tmp_path / "cache") == fetched


def test_without_a_network_another_model_is_one_message(hub: Hub, tmp_path: Path) -> None:
    with serving(hub):
        pass

    with pytest.raises(ConfigurationError, match="could not be reached"):
        fetch(hub, tmp_path / "cache")


def test_a_hub_that_fails_is_one_message(hub: Hub, tmp_path: Path) -> None:
    hub.status = 500
    with serving(hub), pytest.raises(ConfigurationError, match="500"):
        fetch(hub, tmp_path / "cache")


def test_a_repository_that_does_not_exist_is_one_message(hub: Hub, tmp_path: Path) -> None:
    with serving(hub), pytest.raises(ConfigurationError, match="does not exist, or is private"):
        fetch(hub, tmp_path / "cache", name="acme/nothing")
