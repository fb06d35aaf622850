"""``circuit build``, ``circuit verify-artifacts`` and ``circuit inspect``."""

import argparse
import json
from pathlib import Path

import numpy as np

from adapters.ezkl_proof.circuit_builder import build_circuit
from adapters.ezkl_proof.circuit_folder import VERIFIER, open_circuit_folder, read_contract
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility
from adapters.ezkl_proof.solidity import MAX_CONTRACT_BYTES
from adapters.ezkl_proof.tuner import Samples, tune
from adapters.onnx.builder import TqdmReporter
from domain.errors import ConfigurationError

SAMPLE_DIMENSIONS = 2


def run_circuit_command(options: argparse.Namespace) -> int:
    """Run one of the commands.

    Raises:
        ConfigurationError: a circuit cannot be built, or a folder is damaged.
    """
    match options.circuit_command:
        case "build":
            _build(options)
        case "verify-artifacts":
            folder = open_circuit_folder(options.folder)
            print(f"{options.folder}: {len(folder.manifest.files)} files match the manifest")
        case "inspect":
            _inspect(options.folder)
    return 0


def _build(options: argparse.Namespace) -> None:
    report = TqdmReporter()
    has_solc = (options.node_modules / "solc").is_dir()
    if options.samples is None:
        parameters = CircuitParameters(
            logrows=options.logrows,
            decomp_base=options.decomp_base,
            decomp_legs=options.decomp_legs,
            scale=options.scale,
            num_inner_cols=options.inner_cols,
        )
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        parameters = _tuned(options, report, _journal(options.out))
    if not has_solc:
        report.warn(
            f"no Solidity compiler in {options.node_modules}: the verifier is not compiled (make contracts)"
        )
    build_circuit(
        options.model,
        options.out,
        parameters,
        InputVisibility(options.inputs),
        report,
        srs=options.srs,
        node_modules=options.node_modules if has_solc else None,
    )
    _journal(options.out).unlink(missing_ok=True)
    print(options.out)


def _journal(destination: Path) -> Path:
    return destination.with_name(destination.name + ".tuning.json")


def _tuned(options: argparse.Namespace, report: TqdmReporter, journal: Path) -> CircuitParameters:
    samples = _read_samples(options.samples)
    visibility = InputVisibility(options.inputs)
    result = tune(
        options.model, samples, visibility, report, node_modules=options.node_modules, journal=journal
    )
    accuracy = result.accuracy
    print(f"label agreement {accuracy.label_agreement:.1%}, largest error {accuracy.max_error:.3g}")
    print("logrows  base  legs  scale  inner cols   prove s   setup s   pk MB   verifier bytes")
    for candidate in sorted(result.candidates, key=lambda c: c.prove_s):
        p = candidate.parameters
        note = "  <- chosen" if candidate == result.chosen else ""
        note = note if candidate.is_deployable else "  too large to deploy"
        print(
            f"{p.logrows:7} {p.decomp_base:5} {p.decomp_legs:5} {p.scale:6} {p.num_inner_cols:11} "
            f"{candidate.prove_s:9.3f} {candidate.setup_s:9.2f} {candidate.proving_key_bytes / 1e6:7.1f} "
            f"{candidate.num_verifier_bytes:16,}{note}",
        )
    print("chosen: the fastest to prove of those that are accurate enough and can be deployed")
    return result.chosen.parameters


def _read_samples(path: Path) -> Samples:
    try:
        samples = np.array(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a JSON list of inputs: {error}") from error
    if samples.ndim != SAMPLE_DIMENSIONS or not len(samples) or not np.isfinite(samples).all():
        raise ConfigurationError(f"{path} must hold a list of inputs of the same length, finite numbers")
    return samples


def _inspect(path: Path) -> None:
    folder = open_circuit_folder(path)
    origin = folder.manifest.origin
    parameters = " ".join(f"{name}={value}" for name, value in origin["parameters"].items())
    print(f"circuit       {folder.circuit_id}")
    print(f"model         {origin['model']}, {origin['num_inputs']} inputs, {origin['input_visibility']}")
    print(f"parameters    {parameters}")
    print(
        f"reference     {'generated here: INSECURE, for tests only' if folder.is_srs_insecure else 'given'}"
    )
    for name, record in sorted(folder.manifest.files.items()):
        print(f"              {name:16} {record.size_bytes:>12,} bytes  sha256 {record.sha256[:16]}…")
    if VERIFIER in folder.manifest.files:
        num_bytes = read_contract(folder, VERIFIER).num_deployed_bytes
        fits = "fits" if num_bytes <= MAX_CONTRACT_BYTES else "is TOO LARGE"
        print(f"verifier      {num_bytes:,} bytes of code: {fits} (at most {MAX_CONTRACT_BYTES:,})")
