"""A circuit as a folder of artefacts: names, manifest, and what the manifest says of the circuit.

===========================  ==========================================================================
``model.onnx``               the model that is proved
``settings.json``            EZKL's settings
``circuit.ezkl``             the compiled circuit
``kzg.srs``                  the reference string
``pk.key``, ``vk.key``       proving and verifying key
``Verifier.sol``             the verifier contract's source
``verifier.json``            its ABI and bytecode, where a Solidity compiler was at hand
``DataAttestation.sol``      the attestation contract's source
``attestation.json``         its ABI and bytecode likewise
``manifest.json``            sizes and checksums of all, written last
===========================  ==========================================================================
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.ezkl_proof.solidity import CompiledContract
from adapters.manifest import Manifest, verify_manifest
from domain.errors import ConfigurationError

FORMAT_VERSION = 2

MODEL = "model.onnx"
SETTINGS = "settings.json"
CIRCUIT = "circuit.ezkl"
SRS = "kzg.srs"
PROVING_KEY = "pk.key"
VERIFYING_KEY = "vk.key"
VERIFIER_SOURCE = "Verifier.sol"
VERIFIER = "verifier.json"
ATTESTATION_SOURCE = "DataAttestation.sol"
ATTESTATION = "attestation.json"

NEEDED_TO_PROVE = (SETTINGS, CIRCUIT, SRS, PROVING_KEY, VERIFYING_KEY)


@dataclass(frozen=True, slots=True)
class CircuitFolder:
    """A circuit's artefacts, checked against their manifest."""

    path: Path
    manifest: Manifest
    settings: dict[str, Any]

    @property
    def circuit_id(self) -> str:
        """The first 16 hex digits of the verifying key's SHA-256."""
        return self.manifest.files[VERIFYING_KEY].sha256[:16]

    @property
    def is_srs_insecure(self) -> bool:
        """Whether the reference string was generated for tests, so that proofs could be forged."""
        return bool(self.manifest.origin["is_srs_insecure"])

    def file(self, name: str) -> str:
        """Return an artefact's path, as EZKL takes it."""
        return str(self.path / name)


def open_circuit_folder(path: Path) -> CircuitFolder:
    """Check a folder's artefacts, checksums included, and read its settings.

    Raises:
        ConfigurationError: it is no circuit folder, or a file is missing or changed.
    """
    manifest = verify_manifest(path)
    if manifest is None:
        raise ConfigurationError(f"{path} is no circuit folder: it has no manifest")
    missing = [name for name in NEEDED_TO_PROVE if name not in manifest.files]
    if missing or "is_srs_insecure" not in manifest.origin:
        raise ConfigurationError(f"{path} is no circuit folder: its manifest has no {', '.join(missing)}")
    settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    return CircuitFolder(path, manifest, settings)


def read_contract(folder: CircuitFolder, name: str) -> CompiledContract:
    """Return a compiled contract: ``VERIFIER`` or ``ATTESTATION``.

    Raises:
        ConfigurationError: the circuit was built without a Solidity compiler.
    """
    if name not in folder.manifest.files:
        raise ConfigurationError(f"{folder.path} has no {name}: it was built without a Solidity compiler")
    content = json.loads((folder.path / name).read_text(encoding="utf-8"))
    return CompiledContract(
        content["abi"], bytes.fromhex(content["bytecode"]), int(content["num_deployed_bytes"])
    )
