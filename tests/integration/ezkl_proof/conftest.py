"""Three circuits, built once, with a proof of each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from adapters.ezkl_proof.circuit_builder import build_circuit
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility
from adapters.onnx.builder import SilentReporter
from ezkl_calldata import Proof
from tests.contracts import NODE_MODULES
from tests.heads import write_head, write_integer_head
from tests.proving import prove

NUM_INPUTS = 16
REALS = [round(float(x), 3) for x in np.random.default_rng(5).normal(0, 1, NUM_INPUTS)]
INTEGERS = [float(x) for x in np.random.default_rng(6).integers(-9, 10, NUM_INPUTS)]


@dataclass(frozen=True)
class Proven:
    """A circuit, an input, and a proof of it."""

    circuit: Path
    inputs: list[float]
    proof: Proof


def proven(
    folder: Path, name: str, parameters: CircuitParameters, visibility: InputVisibility, inputs: list[float]
) -> Proven:
    circuit = folder / name
    build_circuit(
        folder / f"{name}.onnx", circuit, parameters, visibility, SilentReporter(), node_modules=NODE_MODULES
    )
    return Proven(circuit, inputs, prove(circuit, inputs))


@pytest.fixture(scope="session")
def hashed(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """16-16-3 with argmax, reals in, the input hashed."""
    folder = tmp_path_factory.mktemp("hashed")
    write_head(folder / "head.onnx", (NUM_INPUTS, 16, 3))
    parameters = CircuitParameters(11, 128, 4, 7, 2)
    return proven(folder, "head", parameters, InputVisibility.HASHED, REALS)


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """16-3 with logits, reals in, everything public."""
    folder = tmp_path_factory.mktemp("public")
    write_head(folder / "logits.onnx", (NUM_INPUTS, 3), has_argmax=False)
    parameters = CircuitParameters(10, 128, 3, 7, 2)
    return proven(folder, "logits", parameters, InputVisibility.PUBLIC, REALS)


@pytest.fixture(scope="session")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """Votes with argmax, integers in, the input hashed."""
    folder = tmp_path_factory.mktemp("integers")
    write_integer_head(folder / "votes.onnx", NUM_INPUTS, 3)
    parameters = CircuitParameters(11, 128, 4, 0, 2)
    return proven(folder, "votes", parameters, InputVisibility.HASHED, INTEGERS)
