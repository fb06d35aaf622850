"""What the tuner measures of a candidate; run in a child process."""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.ezkl_proof import ezkl_steps
from ezkl_calldata import felt_from_ezkl_hex, int_from_felt, real_from_fixed_point

NUM_TIMED_PROOFS = 3


def count_rows(model: str, arguments: Mapping[str, Any], folder: str) -> int:
    """Return how many rows a circuit of these arguments needs."""
    settings = f"{folder}/settings.json"
    ezkl_steps.gen_settings(model, settings, arguments)
    return int(json.loads(Path(settings).read_text(encoding="utf-8"))["num_rows"])


def compute_outputs(
    model: str, arguments: Mapping[str, Any], folder: str, samples: Sequence[Sequence[float]]
) -> list[list[float]]:
    """Return what the circuit computes for each sample.

    Raises:
        EzklError: a number does not fit into the circuit.
    """
    settings, circuit = f"{folder}/settings.json", f"{folder}/circuit.ezkl"
    ezkl_steps.gen_settings(model, settings, arguments)
    ezkl_steps.compile_circuit(model, circuit, settings)
    scales = json.loads(Path(settings).read_text(encoding="utf-8"))["model_output_scales"]
    outputs = []
    for sample in samples:
        columns = ezkl_steps.gen_witness(circuit, sample)["outputs"]
        outputs.append(
            [
                real_from_fixed_point(int_from_felt(felt_from_ezkl_hex(felt)), int(scale))
                for column, scale in zip(columns, scales, strict=True)
                for felt in column
            ]
        )
    return outputs


@dataclass(frozen=True, slots=True)
class CircuitCosts:
    """What a circuit costs here."""

    setup_s: float
    prove_s: float
    """Median of some proofs; keys are read from disk each time, as in service."""
    proving_key_bytes: int
    verifier_source: str


def measure_costs(
    model: str, arguments: Mapping[str, Any], folder: str, srs: str, sample: Sequence[float]
) -> CircuitCosts:
    """Set a circuit up and prove with it.

    Raises:
        EzklError: it cannot be set up (too few rows, for one), or cannot prove the sample.
    """
    settings, circuit = f"{folder}/settings.json", f"{folder}/circuit.ezkl"
    vk, pk, witness, source = (
        f"{folder}/{name}" for name in ("vk.key", "pk.key", "witness.json", "Verifier.sol")
    )
    ezkl_steps.gen_settings(model, settings, arguments)
    ezkl_steps.compile_circuit(model, circuit, settings)
    started_s = time.monotonic()
    ezkl_steps.setup(circuit, vk, pk, srs)
    setup_s = time.monotonic() - started_s
    Path(witness).write_text(json.dumps(ezkl_steps.gen_witness(circuit, sample)), encoding="utf-8")
    times_s = []
    for _ in range(NUM_TIMED_PROOFS):
        started_s = time.monotonic()
        ezkl_steps.prove(circuit, pk, srs, witness, f"{folder}/proof.json")
        times_s.append(time.monotonic() - started_s)
    ezkl_steps.verify(f"{folder}/proof.json", settings, vk, srs)
    Path(source).unlink(missing_ok=True)
    ezkl_steps.create_verifier_source(vk, settings, srs, source)
    return CircuitCosts(
        setup_s,
        statistics.median(times_s),
        Path(pk).stat().st_size,
        Path(source).read_text(encoding="utf-8"),
    )
