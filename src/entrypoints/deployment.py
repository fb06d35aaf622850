"""``proof deploy``: puts a circuit's verifier and its attestation contract on chain."""

import argparse
import re
from pathlib import Path

from eth_utils.abi import function_signature_to_4byte_selector

from adapters.ethereum import Deployer
from adapters.ezkl_proof.circuit_builder import compile_attestation, compile_verifier
from adapters.ezkl_proof.circuit_folder import (
    ATTESTATION,
    VERIFIER,
    CircuitFolder,
    open_circuit_folder,
    read_contract,
)
from adapters.ezkl_proof.parameters import InputVisibility
from adapters.ezkl_proof.solidity import MAX_CONTRACT_BYTES, CompiledContract, compile_contract
from adapters.settings import read_settings
from domain.errors import BackendError, ConfigurationError
from ezkl_calldata import AttestationSource, SourceKind, contract_source, encode_attestation_constructor

SOURCE = re.compile(r"(0x[0-9a-fA-F]{40}):([A-Za-z_]\w*\(\))")
MAX_DECIMALS = 36
HASH, VALUES = bytes.fromhex("09bd5a60"), bytes.fromhex("971217b7")
"""Selectors of ``hash()`` and ``values()``."""


def run_deploy_command(options: argparse.Namespace) -> int:
    """Deploy, and print addresses and gas.

    Raises:
        ConfigurationError: an option or the circuit cannot work, or the node refuses.
    """
    key = read_settings().deployer_private_key
    circuit = open_circuit_folder(options.circuit)
    deployer = Deployer(options.rpc, None if key is None else key.get_secret_value())
    where = None if options.source is None else _parsed(options.source)
    if not 0 <= options.decimals <= MAX_DECIMALS:
        raise ConfigurationError(f"--decimals must be from 0 to {MAX_DECIMALS}")
    contracts = _contracts(circuit, options.node_modules)
    try:
        verifier = _deployed(deployer, "Verifier", contracts[VERIFIER].bytecode)
        if where is None:
            source = contract_source("DataStore").read_text(encoding="utf-8")
            store = compile_contract(source, "DataStore", options.node_modules)
            where = (_deployed(deployer, "DataStore", store.bytecode), _store_selector(circuit))
        attested = _source(circuit, *where, options.decimals)
        arguments = encode_attestation_constructor([bytes.fromhex(verifier[2:])], [attested])
        _deployed(deployer, "DataAttestation", contracts[ATTESTATION].bytecode + arguments)
    except BackendError as error:
        raise ConfigurationError(str(error)) from error
    print(f"serve with LLM_VERIFIER_ADDRESS={verifier} for the attestation's calldata")
    return 0


def _contracts(circuit: CircuitFolder, node_modules: Path) -> dict[str, CompiledContract]:
    compilers = {VERIFIER: compile_verifier, ATTESTATION: compile_attestation}
    contracts = {
        name: read_contract(circuit, name)
        if name in circuit.manifest.files
        else compiled(circuit.path, node_modules)
        for name, compiled in compilers.items()
    }
    num_bytes = contracts[VERIFIER].num_deployed_bytes
    if num_bytes > MAX_CONTRACT_BYTES:
        raise ConfigurationError(
            f"the verifier has {num_bytes:,} bytes; chains take {MAX_CONTRACT_BYTES:,}: build the circuit "
            "with more rows or fewer columns, or let `circuit build --samples` choose"
        )
    return contracts


def _deployed(deployer: Deployer, name: str, bytecode: bytes) -> str:
    deployment = deployer.deploy(bytecode)
    print(f"{name:16} {deployment.address}  {deployment.gas_used:,} gas")
    return deployment.address


def _parsed(source: str) -> tuple[str, bytes]:
    found = SOURCE.fullmatch(source)
    if found is None:
        raise ConfigurationError("--source must be ADDRESS:FUNCTION, e.g. 0x…:hash()")
    try:
        return found[1], function_signature_to_4byte_selector(found[2])
    except ImportError as error:
        raise ConfigurationError("no Keccak is installed: install the extra 'circuit'") from error


def _is_hashed(circuit: CircuitFolder) -> bool:
    return InputVisibility(circuit.manifest.origin["input_visibility"]) is InputVisibility.HASHED


def _store_selector(circuit: CircuitFolder) -> bytes:
    return HASH if _is_hashed(circuit) else VALUES


def _source(circuit: CircuitFolder, address: str, selector: bytes, decimals: int) -> AttestationSource:
    account = bytes.fromhex(address[2:])
    if _is_hashed(circuit):
        return AttestationSource(account, SourceKind.RAW, 0, 0, 1, selector)
    scale = int(circuit.settings["model_input_scales"][0])
    num_inputs = int(circuit.manifest.origin["num_inputs"])
    return AttestationSource(account, SourceKind.SIGNED_ARRAY, decimals, scale, num_inputs, selector)
