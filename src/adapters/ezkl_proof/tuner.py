"""Chooses a circuit's parameters by measuring: accurate enough, deployable, and fastest to prove.

EZKL's own calibration is made for large models; for small heads, parameters chosen like this prove ten times
faster and more. Three steps:

1. the smallest scale at which the circuit agrees with the float model on the samples;
2. the smallest range of integers that holds those samples, doubled for safety;
3. of the layouts with that range, those with the fewest rows and columns are set up, proved with, compiled.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from adapters.ezkl_proof import ezkl_steps, tuning_steps
from adapters.ezkl_proof.child import Child
from adapters.ezkl_proof.circuit_builder import VERIFIER_CONTRACT, BuildReporter
from adapters.ezkl_proof.ezkl_steps import EzklError
from adapters.ezkl_proof.parameters import CircuitParameters, InputVisibility, run_arguments
from adapters.ezkl_proof.solidity import MAX_CONTRACT_BYTES, compile_contract
from adapters.ezkl_proof.tuning_journal import TuningJournal
from domain.errors import ConfigurationError

SCALES = range(3, 14)
BASES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
LEGS = (2, 3, 4, 5)
INNER_COLS = (1, 2, 4)
ROOMY = (4096, 5)
"""A base and legs whose range is never what limits accuracy."""
BLINDING_ROWS = 8
"""Rows at the end of a circuit that Halo2 keeps for itself."""
SAFETY_FACTOR = 2
"""Inputs this many times the samples must fit into the circuit too."""
MAX_RANGE_SAMPLES = 32
NUM_MEASURED = 6

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bars:
    """What a circuit must reach on the samples."""

    min_label_agreement: float = 0.99
    """Share of samples whose largest output (or index, for argmax) is the float model's."""
    max_error: float = 0.05
    """Of any output that is a real number."""


DEFAULT_BARS = Bars()


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How a circuit compares with the float model."""

    label_agreement: float
    max_error: float

    def reaches(self, bars: Bars) -> bool:
        return self.label_agreement >= bars.min_label_agreement and self.max_error <= bars.max_error


@dataclass(frozen=True, slots=True)
class MeasuredCandidate:
    """A layout that was set up and proved with."""

    parameters: CircuitParameters
    setup_s: float
    prove_s: float
    proving_key_bytes: int
    num_verifier_bytes: int

    @property
    def is_deployable(self) -> bool:
        return self.num_verifier_bytes <= MAX_CONTRACT_BYTES


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The choice, and what it was chosen from."""

    chosen: MeasuredCandidate
    accuracy: Accuracy
    candidates: tuple[MeasuredCandidate, ...]


def tune(
    model: Path,
    samples: Samples,
    visibility: InputVisibility,
    report: BuildReporter,
    *,
    node_modules: Path,
    bars: Bars = DEFAULT_BARS,
    journal: Path | None = None,
) -> TuningResult:
    """Return the parameters that prove fastest.

    Args:
        model: an ONNX file with one input.
        samples: ``float64[n, inputs]``, inputs as they will come.
        visibility: what a proof tells of the input.
        report: shown the progress.
        node_modules: where the package ``solc`` is.
        bars: what the circuit must reach.
        journal: a file that keeps what was found, for a tuning that goes on after an interruption.

    Raises:
        ConfigurationError: no parameters reach the bars, or none give a contract that can be deployed.
    """
    with tempfile.TemporaryDirectory() as folder, Child() as child:
        tuner = _Tuner(model, samples, visibility, bars, child=child, folder=Path(folder))
        findings = TuningJournal(journal, _fingerprint(model, samples, visibility, bars))
        report.start("tuning: scale", len(SCALES))
        scale, agreement, error = findings.finding("scale", lambda: tuner.smallest_scale(report))
        accuracy = Accuracy(agreement, error)
        report.start("tuning: range", 1)
        smallest_range = findings.finding("range", lambda: tuner.smallest_range(scale))
        layouts = tuner.cheapest_layouts(scale, smallest_range)
        report.start("tuning: layouts", len(layouts))
        candidates = []
        for layout in layouts:
            report.advance()
            costs = findings.finding(repr(layout), partial(tuner.costs, layout, node_modules))
            if costs is not None:
                candidates.append(MeasuredCandidate(layout, **costs))
        report.finish()
    deployable = [candidate for candidate in candidates if candidate.is_deployable]
    if not deployable:
        raise ConfigurationError(
            f"no layout of {model.name} has a verifier of {MAX_CONTRACT_BYTES} bytes at most"
        )
    return TuningResult(min(deployable, key=lambda c: c.prove_s), accuracy, tuple(candidates))


class _Tuner:
    def __init__(
        self,
        model: Path,
        samples: Samples,
        visibility: InputVisibility,
        bars: Bars,
        *,
        child: Child,
        folder: Path,
    ) -> None:
        self._model = model
        self._samples = samples
        self._visibility = visibility
        self._bars = bars
        self._child = child
        self._folder = folder
        self._expected, self._takes_integers = _float_outputs(model, samples)

    def smallest_scale(self, report: BuildReporter) -> tuple[int, float, float]:
        """Return the smallest scale that reaches the bars, its label agreement and its largest error."""
        best: Accuracy | None = None
        for scale in (0,) if self._takes_integers else SCALES:
            report.advance()
            try:
                outputs = self._outputs(CircuitParameters(15, *ROOMY, scale, 1), self._samples)
            except EzklError:
                continue
            accuracy = _compare(outputs, self._expected)
            best = max((best or accuracy), accuracy, key=lambda a: (a.label_agreement, -a.max_error))
            if accuracy.reaches(self._bars):
                return scale, accuracy.label_agreement, accuracy.max_error
        found = "none could be computed" if best is None else f"the best was {best}"
        raise ConfigurationError(f"no scale of {self._model.name} reaches {self._bars}; {found}")

    def smallest_range(self, scale: int) -> int:
        """Return the smallest ``base ** legs`` that holds the samples, with room to spare."""
        samples = self._samples[:MAX_RANGE_SAMPLES]
        generous = np.concatenate([samples * SAFETY_FACTOR, samples])
        for base, legs in sorted(product(BASES, LEGS), key=lambda pair: (pair[0] ** pair[1], pair)):
            try:
                self._outputs(CircuitParameters(15, base, legs, scale, 1), generous)
            except EzklError:
                continue
            return int(base**legs)
        raise ConfigurationError(f"the numbers inside {self._model.name} do not fit into a circuit")

    def cheapest_layouts(self, scale: int, smallest_range: int) -> list[CircuitParameters]:
        """Return the layouts worth measuring, the one with the smallest area first."""
        widest: dict[tuple[int, int], CircuitParameters] = {}
        for base, legs, num_inner_cols in product(BASES, LEGS, INNER_COLS):
            if base**legs < smallest_range:
                continue
            roomy = CircuitParameters(15, base, legs, scale, num_inner_cols)
            try:
                num_rows = self._child.run(
                    tuning_steps.count_rows, str(self._model), self._arguments(roomy), str(self._folder)
                )
            except EzklError:
                continue
            needed = max(num_rows, base) + BLINDING_ROWS
            logrows = int(log2(needed - 1)) + 1
            layout = CircuitParameters(logrows, base, legs, scale, num_inner_cols)
            # rows and columns decide the cost: of those alike, the one that holds the largest numbers
            known = widest.get((logrows, num_inner_cols))
            if known is None or layout.largest_magnitude > known.largest_magnitude:
                widest[logrows, num_inner_cols] = layout
        return sorted(widest.values(), key=lambda p: (2**p.logrows * (p.num_inner_cols + 4), p))[
            :NUM_MEASURED
        ]

    def costs(self, parameters: CircuitParameters, node_modules: Path) -> dict[str, float | int] | None:
        """Set a layout up, prove with it, compile its verifier; None where EZKL refuses it.

        Returns:
            The fields of ``MeasuredCandidate`` behind its parameters.
        """
        srs = self._folder / f"{parameters.logrows}.srs"
        if not srs.exists():
            self._child.run(ezkl_steps.gen_srs, str(srs), parameters.logrows)
        try:
            costs = self._child.run(
                tuning_steps.measure_costs,
                str(self._model),
                self._arguments(parameters),
                str(self._folder),
                str(srs),
                self._samples[0].tolist(),
            )
        except EzklError:
            return None
        compiled = compile_contract(costs.verifier_source, VERIFIER_CONTRACT, node_modules)
        return {
            "setup_s": costs.setup_s,
            "prove_s": costs.prove_s,
            "proving_key_bytes": costs.proving_key_bytes,
            "num_verifier_bytes": compiled.num_deployed_bytes,
        }

    def _outputs(self, parameters: CircuitParameters, samples: Samples) -> list[list[float]]:
        return self._child.run(
            tuning_steps.compute_outputs,
            str(self._model),
            self._arguments(parameters),
            str(self._folder),
            samples.tolist(),
        )

    def _arguments(self, parameters: CircuitParameters) -> dict[str, Any]:
        return run_arguments(parameters, self._visibility)


def _fingerprint(model: Path, samples: Samples, visibility: InputVisibility, bars: Bars) -> str:
    facts = f"{visibility} {bars} {version('ezkl')}".encode()
    return hashlib.sha256(model.read_bytes() + samples.tobytes() + facts).hexdigest()


def _float_outputs(model: Path, samples: Samples) -> tuple[list[list[float]], bool]:
    """Return what the model itself gives, and whether it takes integers."""
    try:
        session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        declared = session.get_inputs()[0]
        takes_integers = "int" in declared.type
        dtype = np.int64 if takes_integers else np.float32
        outputs = [
            session.run(None, {declared.name: sample.reshape(declared.shape).astype(dtype)})
            for sample in samples
        ]
    except Exception as error:  # its exceptions have no common base but this
        raise ConfigurationError(f"{model} cannot be run on the samples: {error}") from error
    return [[float(x) for part in parts for x in np.ravel(part)] for parts in outputs], takes_integers


def _compare(outputs: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> Accuracy:
    ours, theirs = np.array(outputs), np.array(expected)
    if theirs.shape[1] == 1 and np.array_equal(theirs, np.rint(theirs)):
        return Accuracy(float(np.mean(ours == theirs)), 0.0)
    agreement = float(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)))
    return Accuracy(agreement, float(np.abs(ours - theirs).max()))
