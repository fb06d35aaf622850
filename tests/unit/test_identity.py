"""The identity of a workflow: whatever its answers depend on changes it, and nothing else."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from adapters.manifest import Manifest, fingerprint_of, write_manifest
from adapters.settings import Settings
from domain.errors import UnavailableError
from domain.requests import InfernetInput
from entrypoints.container import Container, build_container
from tests.scripted_server import scripted_server, send

MODULE = """
from domain.workflow import LLMInferenceWorkflow

class {name}(LLMInferenceWorkflow):
    async def postprocess(self, generation, request):
        return "{answer}"
"""


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Container]:
    defaults = {"LLM_BACKEND": "scripted", "LLM_JOURNAL": "memory"}
    container = build_container(Settings(_env_file=None, **{**defaults, **settings}))
    await container.open()
    try:
        yield container
    finally:
        await container.close()


async def identity_of(**settings: Any) -> str:
    async with opened(**settings) as container:
        workflow = container.workflows["default"]
        await workflow.identify()
        return workflow.identity


async def test_the_same_settings_are_the_same() -> None:
    assert await identity_of() == await identity_of()
    assert await identity_of() == await identity_of(LLM_JOB_RETENTION_S=7, LLM_MAX_CONCURRENT_REQUESTS=3)


@pytest.mark.parametrize(
    "settings",
    [
        {"LLM_SCRIPTED_REPLY": "another"},
        {"LLM_VERIFIER_ADDRESS": "0x" + "11" * 20},
        {"LLM_DEFAULT_PARAMETERS": {"temperature": 1}},
        {"LLM_CHAIN_FORMAT": {"codec": "text", "layout": "wrapped"}},
        {"LLM_MAX_CONTEXT_TOKENS": 77},
        {"FLASK_LLM_WORKFLOW_CLASS": "tests.unit.test_http_app.DictWorkflow"},
    ],
)
async def test_what_answers_depend_on_is_part_of_it(settings: dict[str, Any]) -> None:
    assert await identity_of(**settings) != await identity_of()


async def test_so_is_the_code_of_the_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    bases, own = tmp_path / "bases_of_a_test.py", tmp_path / "workflow_of_a_test.py"
    bases.write_text(MODULE.format(name="Base", answer="yes"))
    own.write_text("from bases_of_a_test import Base\n\nclass Own(Base):\n    pass\n")
    before = await identity_of(FLASK_LLM_WORKFLOW_CLASS="workflow_of_a_test.Own")
    bases.write_text(MODULE.format(name="Base", answer="no"))

    assert await identity_of(FLASK_LLM_WORKFLOW_CLASS="workflow_of_a_test.Own") != before


class ModelServer:
    """Lists one model, where it is up."""

    def __init__(self) -> None:
        self.model = "one"
        self.is_up = True

    def __call__(self, handler: BaseHTTPRequestHandler, _: bytes) -> None:
        listed = {
            "object": "list",
            "data": [{"id": self.model, "object": "model", "created": 0, "owned_by": ""}],
        }
        send(handler, 200 if self.is_up else 503, json.dumps(listed).encode())


async def test_the_model_of_a_server_is_part_of_it_though_no_setting_names_it() -> None:
    server = ModelServer()
    with scripted_server(server) as url, scripted_server(server) as other_url:
        settings = {"LLM_BACKEND": "openai", "LLM_OPENAI_BASE_URL": url}
        one = await identity_of(**settings)
        named = await identity_of(**settings, LLM_OPENAI_MODEL="one")
        elsewhere = await identity_of(**settings | {"LLM_OPENAI_BASE_URL": other_url})
        embedding = await identity_of(**settings, LLM_OPENAI_EMBEDDING_MODEL="e")
        server.model = "two"
        two = await identity_of(**settings)

    assert one == named
    assert len({one, two, elsewhere, embedding}) == 4


async def test_nothing_is_recorded_before_the_model_of_a_server_is_known() -> None:
    server = ModelServer()
    server.is_up = False
    request = InfernetInput.model_validate({"source": 1, "data": "hello"})
    with scripted_server(server) as url:
        async with opened(LLM_BACKEND="openai", LLM_OPENAI_BASE_URL=url) as container:
            workflow = container.workflows["default"]
            with pytest.raises(UnavailableError):
                await container.jobs.submit(workflow, request, "o", None)
            server.is_up = True
            await container.jobs.submit(workflow, request, "o", None)
            assert len(await container.jobs.page("o", limit=9, before=None)) == 1


def test_a_model_folder_is_known_by_its_manifest_wherever_it_lies(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    for folder, precision in ((one, "fp32"), (same, "fp32"), (other, "int4_block")):
        folder.mkdir()
        write_manifest(folder, Manifest(1, {"precision": precision}, {}, {}))

    assert fingerprint_of(one) == fingerprint_of(same) != fingerprint_of(other)


def test_a_model_folder_without_a_manifest_is_known_by_its_place_and_files(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "model", tmp_path / "b" / "model"
    for folder in (one, other):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"weights")
    before = fingerprint_of(one)

    assert fingerprint_of(one) == before != fingerprint_of(other)
    (one / "model.onnx").write_bytes(b"other weights")
    assert fingerprint_of(one) != before
