"""Builds a circuit folder from a model: once, resumable, with a progress bar.

The folder grows beside its place as ``NAME.partial``; each artefact appears there whole, so that a build that
was interrupted goes on behind the last one. The manifest is written last, and the folder renamed.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, Protocol

import onnx
from filelock import FileLock
from google.protobuf.message import DecodeError

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_folder import (
    ATTESTATION,
    ATTESTATION_SOURCE,
    CIRCUIT,
    FORMAT_VERSION,
    MODEL,
    PROVING_KEY,
    SETTINGS,
    SRS,
    VERIFIER,
    VERIFIER_SOURCE,
    VERIFYING_KEY,
)
from adapters.ezkl_proof.ezkl_steps import EzklError
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility, run_arguments
from adapters.ezkl_proof.solidity import CompiledContract, compile_contract
from adapters.manifest import Manifest, describe_files, read_manifest, write_manifest
from domain.errors import ConfigurationError
from ezkl_calldata import contract_source

VERIFIER_CONTRACT = "Halo2Verifier"
ATTESTATION_CONTRACT = "DataAttestation"
PLAN = "plan.json"
INSECURE_SRS_WARNING = "the reference string is generated here: proofs can be forged, so it is for tests only"


class BuildReporter(Protocol):
    """Told how far the work has come."""

    def start(self, stage: str, total: int) -> None:
        """A stage of ``total`` steps begins; the one before it is over."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Some steps of the stage are done."""
        ...

    def warn(self, message: str) -> None:
        """Something that the user should know."""
        ...

    def finish(self) -> None:
        """The last stage is over."""
        ...


def build_circuit(
    model: Path,
    destination: Path,
    parameters: CircuitParameters,
    visibility: InputVisibility,
    report: BuildReporter,
    *,
    srs: Path | None = None,
    node_modules: Path | None = None,
) -> None:
    """Build a circuit folder, unless the destination already is this one.

    Args:
        model: an ONNX file with one input.
        destination: the folder to make; its parents are made too.
        parameters: the circuit's layout.
        visibility: what a proof tells of the input.
        report: shown the progress.
        srs: a reference string of at least ``parameters.logrows``, from a ceremony; None: one is generated,
            and marked insecure.
        node_modules: where the package ``solc`` is; None: the verifier is not compiled.

    Raises:
        ConfigurationError: EZKL or the compiler refused, or the destination is something else.
    """
    origin = _origin(model, parameters, visibility, srs, has_verifier=node_modules is not None)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(destination.with_name(destination.name + ".lock")):
        if _is_done(destination, origin):
            return
        if srs is None:
            report.warn(INSECURE_SRS_WARNING)
        partial = _partial_folder(destination, origin)
        arguments = run_arguments(parameters, visibility)
        steps = _steps(model, partial, arguments, srs, node_modules)
        report.start(f"building the circuit {destination.name}", len(steps))
        try:
            for artefact, step in steps:
                _make(partial, artefact, step)
                report.advance()
        except EzklError as error:
            raise ConfigurationError(f"EZKL cannot make {artefact} of {model.name}: {error}") from error
        finally:
            report.finish()
        (partial / PLAN).unlink()
        versions = {name: version(name) for name in ("llm-inference-service", "ezkl")}
        write_manifest(partial, Manifest(FORMAT_VERSION, origin, versions, describe_files(partial)))
        partial.rename(destination)


Step = Callable[[str], object]
"""Writes an artefact to the path it is given."""


def _steps(
    model: Path,
    folder: Path,
    arguments: dict[str, Any],
    srs: Path | None,
    node_modules: Path | None,
) -> list[tuple[str, Step]]:
    """Return the artefacts in the order they are made."""

    def file(name: str) -> str:
        return str(folder / name)

    steps: list[tuple[str, Step]] = [
        (MODEL, lambda path: shutil.copyfile(model, path)),
        (SETTINGS, lambda path: in_child(ezkl_steps.gen_settings, file(MODEL), path, arguments)),
        (CIRCUIT, lambda path: in_child(ezkl_steps.compile_circuit, file(MODEL), path, file(SETTINGS))),
        (
            SRS,
            lambda path: (
                in_child(ezkl_steps.gen_srs, path, arguments["logrows"])
                if srs is None
                else shutil.copyfile(srs, path)
            ),
        ),
        (VERIFYING_KEY, lambda path: _keys(folder, path)),
        (
            VERIFIER_SOURCE,
            lambda path: in_child(
                ezkl_steps.create_verifier_source, file(VERIFYING_KEY), file(SETTINGS), file(SRS), path
            ),
        ),
    ]
    attestation = contract_source(ATTESTATION_CONTRACT)
    steps.append((ATTESTATION_SOURCE, lambda path: shutil.copyfile(attestation, path)))
    if node_modules is not None:
        steps.append((VERIFIER, lambda path: compile_verifier(folder, node_modules).write(Path(path))))
        steps.append((ATTESTATION, lambda path: compile_attestation(folder, node_modules).write(Path(path))))
    return steps


def _keys(folder: Path, vk: str) -> None:
    """Both keys are made at once; the proving key is put into place first."""
    pk = folder / (PROVING_KEY + ".partial")
    in_child(ezkl_steps.setup, str(folder / CIRCUIT), vk, str(pk), str(folder / SRS))
    pk.rename(folder / PROVING_KEY)


def compile_verifier(folder: Path, node_modules: Path) -> CompiledContract:
    """Compile a circuit folder's verifier."""
    source = (folder / VERIFIER_SOURCE).read_text(encoding="utf-8")
    return compile_contract(source, VERIFIER_CONTRACT, node_modules)


def compile_attestation(folder: Path, node_modules: Path) -> CompiledContract:
    """Compile a circuit folder's attestation contract."""
    source = (folder / ATTESTATION_SOURCE).read_text(encoding="utf-8")
    return compile_contract(source, ATTESTATION_CONTRACT, node_modules, optimizer_runs=200)


def _make(folder: Path, artefact: str, step: Step) -> None:
    if (folder / artefact).exists():
        return
    unfinished = folder / (artefact + ".partial")
    step(str(unfinished))
    unfinished.rename(folder / artefact)


def _origin(
    model: Path,
    parameters: CircuitParameters,
    visibility: InputVisibility,
    srs: Path | None,
    *,
    has_verifier: bool,
) -> dict[str, Any]:
    if not model.is_file():
        raise ConfigurationError(f"the model {model} is not there")
    return {
        "model": model.name,
        "num_inputs": _num_inputs(model),
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "parameters": asdict(parameters),
        "input_visibility": visibility.value,
        "is_srs_insecure": srs is None,
        "has_verifier": has_verifier,
    }


def _num_inputs(model: Path) -> int:
    """Return how many numbers the model's one input holds.

    Raises:
        ConfigurationError: it is no ONNX model of one input of fixed shape.
    """
    try:
        inputs = onnx.load(model, load_external_data=False).graph.input
    except (DecodeError, ValueError, OSError) as error:
        raise ConfigurationError(f"{model} is not an ONNX model") from error
    if len(inputs) != 1:
        raise ConfigurationError(f"{model} has {len(inputs)} inputs; circuits of one input can be built")
    sizes = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim]
    if not sizes or 0 in sizes:
        raise ConfigurationError(f"the input of {model} must have a fixed shape")
    return prod(sizes)


def _is_done(destination: Path, origin: dict[str, Any]) -> bool:
    if not destination.exists():
        return False
    manifest = read_manifest(destination)
    if manifest is not None and (manifest.format_version, manifest.origin) == (FORMAT_VERSION, origin):
        return True
    raise ConfigurationError(f"{destination} exists and is another circuit or none: choose another place")


def _partial_folder(destination: Path, origin: dict[str, Any]) -> Path:
    """Return the folder in the making: what an interrupted build of the same circuit left, or a fresh one."""
    partial = destination.with_name(destination.name + ".partial")
    plan = partial / PLAN
    if not plan.is_file() or json.loads(plan.read_text(encoding="utf-8")) != origin:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        plan.write_text(json.dumps(origin), encoding="utf-8")
    for unfinished in partial.glob("*.partial"):
        unfinished.unlink()
    return partial
