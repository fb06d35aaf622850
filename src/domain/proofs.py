"""The nouns of proving: a circuit, and a proof with the calldata that checks it on chain.

A proof says: "this circuit's model, on an input with these instances, gives this output". It says nothing of
where the input came from.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CircuitDescription:
    """A circuit that proofs can be made of."""

    circuit_id: str
    num_inputs: int
    takes_integers: bool
    """Whether inputs are whole numbers; reals otherwise."""
    input_visibility: str
    """What a proof tells of the input: ``hashed`` or ``public``."""
    is_srs_insecure: bool
    """Whether the circuit is for tests only, since proofs of it can be forged."""


@dataclass(frozen=True, slots=True)
class ProofTimings:
    """Seconds that the parts of a proof took."""

    waiting_s: float
    witness_s: float
    prove_s: float
    verify_s: float


@dataclass(frozen=True, slots=True)
class ProofResult:
    """A proof that was verified, and what it is about."""

    circuit_id: str
    proof: bytes
    instances: tuple[int, ...]
    """Public inputs and outputs as field elements, in the verifier's order."""
    values: dict[str, list[int | float]]
    """What the instances stand for: ``input_hash`` or ``inputs``, and ``outputs``."""
    verify_calldata: bytes
    """Of ``verifyProof(bytes,uint256[])``."""
    attestation_calldata: bytes | None
    """Of ``verifyWithDataAttestation(address,bytes)``; None where no verifier's address is configured."""
    timings: ProofTimings
