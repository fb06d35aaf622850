"""Proofs straight from EZKL, for tests that need one and not the service."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_folder import CIRCUIT, PROVING_KEY, SRS
from entrypoints.cli import main
from ezkl_calldata import Proof, read_proof


def prove(circuit: Path, inputs: Sequence[float]) -> Proof:
    """Return a proof of the circuit's model on an input."""
    return read_proof(in_child(raw_proof, str(circuit), list(inputs)))


def raw_proof(circuit: str, inputs: list[float]) -> dict[str, Any]:
    """Return EZKL's own dictionary; runs in a child."""
    witness = ezkl_steps.gen_witness(f"{circuit}/{CIRCUIT}", inputs)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "witness.json"
        file.write_text(json.dumps(witness))
        return ezkl_steps.prove(
            f"{circuit}/{CIRCUIT}", f"{circuit}/{PROVING_KEY}", f"{circuit}/{SRS}", str(file)
        )


def built_circuit(head: Path, folder: Path, *layout: str) -> Path:
    """Build a circuit of a head, as the command does; returns its folder."""
    assert main(["circuit", "build", str(head), "--out", str(folder), *layout]) == 0
    return folder
