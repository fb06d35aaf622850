"""``proof verify``: checks a saved reply, natively or on chain."""

import argparse
import json
from pathlib import Path
from typing import Any

from adapters.ethereum import CallOutcome, call_contract
from adapters.ezkl_proof.circuit_folder import open_circuit_folder
from adapters.ezkl_proof.verification import holds
from domain.errors import BackendError, ConfigurationError
from ezkl_calldata import CalldataError, VerifyCall, decode_verify_call

EXIT_REFUSED = 1
TRUE = (1).to_bytes(32)


def run_proof_command(options: argparse.Namespace) -> int:
    """Check the proof in a reply each way that was asked for; returns 0 when it holds in all.

    Raises:
        ConfigurationError: there is no proof in the file, no way was asked for, or a node cannot be reached.
    """
    if options.circuit is None and options.rpc is None:
        raise ConfigurationError(
            "say how to check: --circuit FOLDER, or --rpc URL with --verifier or --attestation"
        )
    if options.rpc is not None and options.verifier is None and options.attestation is None:
        raise ConfigurationError("--rpc needs --verifier ADDRESS or --attestation ADDRESS")
    calldata = _read_calldata(options.reply)
    encoded = _calldata(calldata, "verifyProof")
    call = _decoded(encoded)
    findings: list[bool] = []
    if options.circuit is not None:
        findings.append(_report("native", holds(open_circuit_folder(options.circuit), call)))
    if options.verifier is not None:
        findings.append(_on_chain("verifyProof", options.rpc, options.verifier, encoded))
    if options.attestation is not None:
        attested = _calldata(calldata, "verifyWithDataAttestation")
        findings.append(_on_chain("verifyWithDataAttestation", options.rpc, options.attestation, attested))
    return 0 if all(findings) else EXIT_REFUSED


def _read_calldata(file: Path) -> dict[str, Any]:
    try:
        reply = json.loads(file.read_text(encoding="utf-8"))
        calldata: dict[str, Any] = dict(reply["proof"]["calldata"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} is no reply with a proof") from error
    return calldata


def _calldata(calldata: dict[str, Any], function: str) -> bytes:
    try:
        return bytes.fromhex(calldata[function].removeprefix("0x"))
    except (KeyError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"the reply has no calldata of {function}") from error


def _decoded(calldata: bytes) -> VerifyCall:
    try:
        return decode_verify_call(calldata)
    except CalldataError as error:
        raise ConfigurationError(f"the calldata of verifyProof is not what it should be: {error}") from error


def _on_chain(function: str, rpc_url: str, address: str, calldata: bytes) -> bool:
    try:
        outcome: CallOutcome = call_contract(rpc_url, address, calldata)
    except BackendError as error:
        raise ConfigurationError(str(error)) from error
    if outcome.has_reverted:
        return _report(f"{function} reverted with 0x{outcome.data[:4].hex()} at {address}", has_held=False)
    return _report(f"{function} at {address}", has_held=outcome.data == TRUE)


def _report(way: str, has_held: bool) -> bool:
    print(f"{'ok     ' if has_held else 'REFUSED'} {way}")
    return has_held
