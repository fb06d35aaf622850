"""The contracts under test, compiled."""

import json
import re
from functools import cache
from pathlib import Path

from adapters.ezkl_proof.circuit_folder import VERIFIER
from adapters.ezkl_proof.solidity import CompiledContract, compile_contract

CONTRACTS = Path(__file__).parents[1] / "ezkl" / "contracts"
NODE_MODULES = CONTRACTS / "node_modules"

STORE = """
// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;
contract Store {
    int256[] private _values;
    uint256 public hash;
    bytes private _raw;
    bool private _isBroken;
    function set(int256[] calldata values_) external { _values = values_; }
    function setHash(uint256 hash_) external { hash = hash_; }
    function setRaw(bytes calldata raw_) external { _raw = raw_; }
    function values() external view returns (int256[] memory) { return _values; }
    function value() external view returns (int256) { return _values[0]; }
    function echo(uint256 value_) external pure returns (uint256) { return value_; }
    function echo(int256 value_) external pure returns (int256) { return value_; }
    function broken() external pure { revert("broken"); }
    function raw() external view {
        bytes memory answer = _raw;
        assembly { return(add(answer, 32), mload(answer)) }
    }
}
"""


@cache
def attestation_contract() -> CompiledContract:
    """Return ``DataAttestation``."""
    source = (CONTRACTS / "DataAttestation.sol").read_text(encoding="utf-8")
    return compile_contract(source, "DataAttestation", NODE_MODULES, optimizer_runs=200)


@cache
def store_contract() -> CompiledContract:
    """Return a contract that holds data to attest."""
    return compile_contract(STORE, "Store", NODE_MODULES)


def verifier_bytecode(circuit: Path) -> bytes:
    """Return the bytecode of a circuit's verifier."""
    return bytes.fromhex(json.loads((circuit / VERIFIER).read_text())["bytecode"])


def deployed_addresses(printed: str) -> dict[str, str]:
    """Return the address of each contract in what ``proof deploy`` printed."""
    return dict(re.findall(r"(\w+) +(0x\w{40}) ", printed))
