"""Checks a proof natively, from its calldata and the circuit's artefacts."""

import json
import tempfile
from pathlib import Path

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_folder import SETTINGS, SRS, VERIFYING_KEY, CircuitFolder
from adapters.ezkl_proof.ezkl_steps import EzklError
from ezkl_calldata import VerifyCall, felt_to_ezkl_hex


def holds(circuit: CircuitFolder, call: VerifyCall) -> bool:
    """Tell whether EZKL itself accepts the proof in a call, with the circuit's own verifying key."""
    content = {
        "protocol": None,
        "instances": [[felt_to_ezkl_hex(felt) for felt in call.instances]],
        "proof": list(call.proof),
        "hex_proof": f"0x{call.proof.hex()}",
        "split": None,
        "pretty_public_inputs": None,
        "timestamp": 0,
        "version": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        proof = Path(folder) / "proof.json"
        proof.write_text(json.dumps(content), encoding="utf-8")
        artefacts = [circuit.file(name) for name in (SETTINGS, VERIFYING_KEY, SRS)]
        try:
            in_child(ezkl_steps.verify, str(proof), *artefacts)
        except EzklError:
            return False
    return True
