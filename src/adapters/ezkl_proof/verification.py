"""Checks a proof natively, from its calldata and the circuit's artefacts.

``python -m adapters.ezkl_proof.verification CIRCUIT_FOLDER`` reads the calldata of ``verifyProof`` from its
standard input, and says by its exit status what EZKL found: ``HOLDS`` or ``REFUSED``.
"""

import json
import sys
import tempfile
from pathlib import Path

from adapters.ezkl_proof import ezkl_steps
from adapters.ezkl_proof.child import in_child
from adapters.ezkl_proof.circuit_folder import SETTINGS, SRS, VERIFYING_KEY, CircuitFolder
from adapters.ezkl_proof.ezkl_steps import EzklError
from ezkl_calldata import VerifyCall, decode_verify_call, felt_to_ezkl_hex

HOLDS = 0
REFUSED = 3
"""None of those that Python itself ends with."""


def holds(circuit: CircuitFolder, call: VerifyCall) -> bool:
    """Tell whether EZKL itself accepts the proof in a call, with the circuit's own verifying key."""
    try:
        in_child(_check, circuit.path, call)
    except EzklError:
        return False
    return True


def _check(circuit: Path, call: VerifyCall) -> None:
    """Raise ``EzklError`` where the proof does not hold. EZKL may end the process."""
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
        artefacts = [str(circuit / name) for name in (SETTINGS, VERIFYING_KEY, SRS)]
        ezkl_steps.verify(str(proof), *artefacts)


def main(circuit: str) -> int:
    """Check one call; returns the exit status."""
    call = decode_verify_call(sys.stdin.buffer.read())
    try:
        _check(Path(circuit), call)
    except EzklError:
        return REFUSED
    return HOLDS


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
