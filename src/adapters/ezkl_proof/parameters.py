"""What can be chosen when a circuit is built."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import prod
from typing import Any


class InputVisibility(StrEnum):
    """What the proof tells of the input."""

    HASHED = "hashed"
    """Its Poseidon hash: one instance."""
    PUBLIC = "public"
    """All of it: an instance a value."""


@dataclass(frozen=True, slots=True, order=True)
class CircuitParameters:
    """How EZKL lays a model out as a circuit; outputs are public, weights fixed.

    Integers in the circuit are written with ``decomp_legs`` digits to the base ``decomp_base``, so their
    magnitude is below ``decomp_base ** decomp_legs``.
    """

    logrows: int
    """Rows of the circuit, as a power of two."""
    decomp_base: int
    decomp_legs: int
    scale: int
    """Binary digits after the point, of inputs and weights; 0 for models of integers."""
    num_inner_cols: int
    """Columns that inner products are spread over: more columns, fewer rows, a larger contract."""

    @property
    def largest_magnitude(self) -> int:
        """Integers in the circuit are at most this far from zero."""
        return largest_magnitude(self.decomp_base, self.decomp_legs)


def largest_magnitude(decomp_base: int, decomp_legs: int) -> int:
    """Return the largest integer of so many digits to a base."""
    return prod([decomp_base] * decomp_legs) - 1


def run_arguments(parameters: CircuitParameters, visibility: InputVisibility) -> dict[str, Any]:
    """Return the fields of ``ezkl.PyRunArgs``."""
    fields = asdict(parameters)
    scale = fields.pop("scale")
    return {
        **fields,
        "input_scale": scale,
        "param_scale": scale,
        "input_visibility": visibility.value,
        "output_visibility": "public",
        "param_visibility": "fixed",
    }
