"""What a proving child says: that it is ready, a proof, or the step that failed."""

from dataclasses import dataclass
from typing import Any

READY = "ready"


@dataclass(frozen=True, slots=True)
class ProofAnswer:
    """A verified proof as EZKL's dictionary, and the seconds of each step."""

    raw: dict[str, Any]
    witness_s: float
    prove_s: float
    verify_s: float


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that EZKL refused; its message stays in the child, since it may quote the input."""

    step: str
