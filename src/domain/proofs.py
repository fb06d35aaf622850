"""The nouns of proving: a circuit, and a proof with the calldata that checks it on chain.

A proof says: "this circuit's model, on an input with these instances, gives this output". It says nothing of
where the input came from.
"""

from dataclasses import dataclass
from typing import Any

STATEMENT = (
    "The circuit's model, on an input with these instances, gives this output. Where the input came from is "
    "not proved: that a language model made it least of all."
)


@dataclass(frozen=True, slots=True)
class CircuitDescription:
    """A circuit that proofs can be made of."""

    circuit_id: str
    num_inputs: int
    input_scale: int
    """Binary digits after the point of the inputs' instances."""
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

    def label_index(self, num_labels: int) -> int | None:
        """Return the output, where it is one whole number that is the index of a label; None otherwise."""
        outputs = self.values["outputs"]
        index = outputs[0]
        if len(outputs) == 1 and isinstance(index, int) and 0 <= index < num_labels:
            return index
        return None


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """Whether a proof that somebody brings holds, and what it is about."""

    circuit_id: str
    holds: bool
    """For this circuit: the proof and the instances belong together."""
    instances: tuple[int, ...]
    values: dict[str, list[int | float]] | None
    """What the instances stand for; None where they are not as many as the circuit's."""
    is_srs_insecure: bool
    """Whether whoever made the circuit can forge proofs of it."""


def verdict_reply(verdict: ProofVerdict) -> dict[str, Any]:
    """Return a verdict as JSON, in the form of ``proof_reply``."""
    return {
        "verified": verdict.holds,
        "circuit_id": verdict.circuit_id,
        "statement": STATEMENT,
        "is_srs_insecure": verdict.is_srs_insecure,
        "instances": [_felt_hex(felt) for felt in verdict.instances],
        "values": None if verdict.values is None else _values_content(verdict.values),
    }


def proof_reply(result: ProofResult) -> dict[str, Any]:
    """Return a proof as JSON: bytes, field elements and hashes in hex with 0x, times in milliseconds."""
    timings = result.timings
    return {
        "circuit_id": result.circuit_id,
        "statement": STATEMENT,
        "proof": _hex(result.proof),
        "instances": [_felt_hex(felt) for felt in result.instances],
        "values": _values_content(result.values),
        "calldata": {
            "verifyProof": _hex(result.verify_calldata),
            "verifyWithDataAttestation": (
                None if result.attestation_calldata is None else _hex(result.attestation_calldata)
            ),
        },
        "timings_ms": {
            "waiting": round(timings.waiting_s * 1000, 1),
            "witness": round(timings.witness_s * 1000, 1),
            "prove": round(timings.prove_s * 1000, 1),
            "verify": round(timings.verify_s * 1000, 1),
        },
    }


def _values_content(values: dict[str, list[int | float]]) -> dict[str, list[Any]]:
    return {
        name: [_felt_hex(int(value)) for value in group] if name.endswith("_hash") else list(group)
        for name, group in values.items()
    }


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def _felt_hex(felt: int) -> str:
    return f"0x{felt:064x}"
