"""``circuit build``, ``circuit verify-artifacts`` and ``circuit inspect``."""

import argparse
from pathlib import Path

from adapters.ezkl_proof.circuit_builder import build_circuit
from adapters.ezkl_proof.circuit_folder import VERIFIER, open_circuit_folder, read_verifier
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility
from adapters.ezkl_proof.solidity import MAX_CONTRACT_BYTES
from adapters.onnx.builder import TqdmReporter


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
    parameters = CircuitParameters(
        logrows=options.logrows,
        decomp_base=options.decomp_base,
        decomp_legs=options.decomp_legs,
        scale=options.scale,
        num_inner_cols=options.inner_cols,
    )
    has_solc = (options.node_modules / "solc").is_dir()
    report = TqdmReporter()
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
    print(options.out)


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
        num_bytes = read_verifier(folder).num_deployed_bytes
        fits = "fits" if num_bytes <= MAX_CONTRACT_BYTES else "is TOO LARGE"
        print(f"verifier      {num_bytes:,} bytes of code: {fits} (at most {MAX_CONTRACT_BYTES:,})")
