"""Calldata for EZKL's verifier contracts, made and read in memory.

Knows the layouts that EZKL 23 and its Solidity verifiers use, and nothing of the EZKL library itself: proofs
and settings come in as the dictionaries that the library returns and writes.
"""

from ezkl_calldata.attestation import AttestationCall, decode_attestation_call, encode_attestation_call
from ezkl_calldata.deployment import (
    AttestationSource,
    SourceKind,
    contract_source,
    encode_attestation_constructor,
)
from ezkl_calldata.errors import CalldataError
from ezkl_calldata.field import (
    MODULUS,
    felt_from_ezkl_hex,
    felt_from_int,
    felt_to_ezkl_hex,
    fixed_point_from_real,
    int_from_felt,
    real_from_fixed_point,
)
from ezkl_calldata.instances import InstanceGroup, InstanceLayout, instance_layout
from ezkl_calldata.proof import Proof, read_proof
from ezkl_calldata.verify_call import VerifyCall, decode_verify_call, encode_verify_call
from ezkl_calldata.vka import read_vka, write_vka

__all__ = [
    "MODULUS",
    "AttestationCall",
    "AttestationSource",
    "CalldataError",
    "InstanceGroup",
    "InstanceLayout",
    "Proof",
    "SourceKind",
    "VerifyCall",
    "contract_source",
    "decode_attestation_call",
    "decode_verify_call",
    "encode_attestation_call",
    "encode_attestation_constructor",
    "encode_verify_call",
    "felt_from_ezkl_hex",
    "felt_from_int",
    "felt_to_ezkl_hex",
    "fixed_point_from_real",
    "instance_layout",
    "int_from_felt",
    "read_proof",
    "read_vka",
    "real_from_fixed_point",
    "write_vka",
]
