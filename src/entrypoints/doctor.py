"""``doctor``: looks at everything that a start needs, and says in a line each whether it holds."""

import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from adapters.infernet import build_codec
from adapters.settings import Backend, JournalKind, Settings, WorkflowSettings
from domain.errors import ConfigurationError
from entrypoints.workflow_classes import construct_workflow

Finding = tuple[str, Callable[[], str]]


def examine(settings: Settings) -> int:
    """Print the findings; returns 0 when all hold, 1 otherwise. Shows no secret and loads no model."""
    findings: list[Finding] = [
        ("python", lambda: f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"),
        ("settings", lambda: f"read; backend {settings.backend.value}"),
        ("cache folder", lambda: _writable(settings.cache_folder, "LLM_CACHE_DIR")),
    ]
    if settings.journal is JournalKind.SQLITE:
        journal = settings.journal_path.expanduser()
        findings.append(
            ("journal", lambda: _writable(journal.parent, "LLM_JOURNAL_PATH") + f"/{journal.name}")
        )
    for name, workflow in {"default": settings.default_workflow, **settings.workflows}.items():
        findings.append(
            (f"workflow {name}", lambda w=workflow: _workflow(w)),  # type: ignore[misc]
        )
    findings += _backend_findings(settings)
    if settings.circuit is not None:
        circuit = settings.circuit.expanduser()
        findings.append(("circuit", lambda: _circuit(circuit)))
    holds = [_report(name, finding) for name, finding in findings]
    return 0 if all(holds) else 1


def _workflow(declared: WorkflowSettings) -> str:
    workflow = construct_workflow(declared)
    chain_format = declared.chain or workflow.chain_format
    build_codec(chain_format)
    return f"{type(workflow).__qualname__}; for contracts {chain_format.codec}, {chain_format.layout.value}"


def _report(name: str, finding: Callable[[], str]) -> bool:
    try:
        print(f"ok      {name}: {finding()}")
    except ConfigurationError as error:
        print(f"FAILED  {name}: {error}")
        return False
    return True


def _backend_findings(settings: Settings) -> list[Finding]:
    match settings.backend:
        case Backend.ONNXRUNTIME:
            return [
                ("onnxruntime", lambda: _onnx_runtime(settings)),
                ("model", lambda: _model_folder(settings)),
            ]
        case Backend.OPENAI:
            return [("openai", lambda: _openai(settings))]
        case Backend.OPTIMUM:
            return [("optimum", lambda: _package("optimum-onnx"))]
        case Backend.SCRIPTED:
            return []


def _onnx_runtime(settings: Settings) -> str:
    import onnxruntime as ort

    from adapters.onnx.providers import ProviderChoice, has_cuda_device, providers_to_try

    has_cuda = has_cuda_device()
    providers = providers_to_try(
        ProviderChoice(settings.onnx_provider), ort.get_available_providers(), has_cuda_device=has_cuda
    )
    seen = "seen" if has_cuda else "not seen"
    return f"{ort.__version__}; CUDA device {seen}; will try {', '.join(providers)}"


def _model_folder(settings: Settings) -> str:
    from adapters.manifest import verify_manifest
    from adapters.onnx.builder import SilentReporter
    from adapters.onnx.model_folder import read_model_folder
    from entrypoints.model_source import prepare_model

    print(
        "        (checking the model's checksums; a model that is not built yet is built now)",
        file=sys.stderr,
    )
    folder = read_model_folder(prepare_model(settings, SilentReporter()).folder)
    manifest = verify_manifest(folder.path)
    checked = "no manifest: made by another tool" if manifest is None else "checksums match"
    return f"{folder.path}; {folder.num_layers} layers, context {folder.context_length}; {checked}"


def _circuit(path: Path) -> str:
    from adapters.ezkl_proof.circuit_folder import open_circuit_folder

    folder = open_circuit_folder(path)
    srs = "INSECURE reference string, for tests only" if folder.is_srs_insecure else "given reference string"
    return f"{folder.path}; {folder.circuit_id}; {srs}; checksums match"


def _openai(settings: Settings) -> str:
    if settings.openai_base_url is None:
        raise ConfigurationError("LLM_OPENAI_BASE_URL is not set")
    api_key = "set" if settings.openai_api_key else "not set"
    return (
        f"{settings.openai_base_url}; model {settings.openai_model or 'the first listed'}; API key {api_key}"
    )


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError as error:
        raise ConfigurationError(f"{name} is not installed: install the extra 'optimum'") from error


def _writable(folder: Path, setting: str) -> str:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(nearest, os.W_OK):
        raise ConfigurationError(f"{folder} cannot be written: set {setting}")
    return str(folder)
