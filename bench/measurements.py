"""What a comparison measured: kept as JSON, told as a table."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Spread, paired_ratio, spread
from bench.load import LoadFigures

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One load on one target in one round."""

    target: str
    load: str
    """``8 callers`` or ``2.5 requests/s``."""
    round: int
    figures: LoadFigures
    memory_bytes: int | None


@dataclass(slots=True)
class Comparison:
    """All measurements of a run."""

    prompt_set: str
    machine: str
    measurements: list[Measurement] = field(default_factory=list)
    likelihoods: dict[str, float] = field(default_factory=dict)
    """Mean negative log likelihood of each target's answers under the fp32 model."""

    @property
    def targets(self) -> list[str]:
        """Their names, as first measured."""
        return list(dict.fromkeys(m.target for m in self.measurements))

    @property
    def loads(self) -> list[str]:
        """The loads, as first measured."""
        return list(dict.fromkeys(m.load for m in self.measurements))

    def figures(self, target: str, load: str, name: str) -> list[float]:
        """Return one figure of each round."""
        return [
            float(getattr(m.figures, name)) for m in self.measurements if (m.target, m.load) == (target, load)
        ]

    def ratio(self, target: str, load: str) -> Spread | None:
        """Return our throughput over a target's, paired by round; None where ours was not measured."""
        ours, theirs = (self.figures(name, load, "tokens_per_s") for name in (OURS, target))
        num_pairs = min(len(ours), len(theirs))
        return paired_ratio(ours[:num_pairs], theirs[:num_pairs]) if num_pairs else None

    def memory_mib(self, target: str) -> float:
        """Return the most memory that was seen; NaN where none was."""
        seen = [m.memory_bytes for m in self.measurements if m.target == target and m.memory_bytes]
        return max(seen) / 2**20 if seen else math.nan

    def save(self, file: Path) -> None:
        """Write JSON; what was not measured is null."""
        content = asdict(self)
        for measurement in content["measurements"]:
            figures = measurement["figures"]
            missing = [name for name, value in figures.items() if value != value]  # noqa: PLR0124 - NaN
            figures.update(dict.fromkeys(missing))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")

    def table(self) -> str:
        """Return a Markdown table: medians over the rounds, with the range of the throughput."""
        header = (
            "load", "target", "output tok/s", "ours/it", "TTFT p50 ms", "p95", "ITL p50 ms", "p99",
            "latency p50 s", "errors", "client CPU", "memory MiB", "NLL",
        )  # fmt: skip
        rows = [self._row(load, target) for load in self.loads for target in self.targets]
        return markdown_table(header, [row for row in rows if row])

    def _row(self, load: str, target: str) -> list[str]:
        rates = self.figures(target, load, "tokens_per_s")
        if not rates:
            return []

        def median(name: str) -> float:
            return spread(self.figures(target, load, name)).median

        ratio = self.ratio(target, load)
        likelihood = self.likelihoods.get(target)
        return [
            load,
            target,
            spread(rates).shown(),
            ratio.shown(2) if ratio else "",
            f"{median('first_token_p50_s') * 1000:.0f}",
            f"{median('first_token_p95_s') * 1000:.0f}",
            f"{median('gap_p50_s') * 1000:.1f}",
            f"{median('gap_p99_s') * 1000:.1f}",
            f"{median('latency_p50_s'):.2f}",
            f"{sum(self.figures(target, load, 'num_errors')):.0f}",
            f"{median('client_cpu_share'):.1%}",
            f"{self.memory_mib(target):.0f}",
            f"{likelihood:.3f}" if likelihood is not None else "",
        ]


def read_comparison(file: Path) -> Comparison:
    """Read what ``Comparison.save`` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    measurements = []
    for measurement in content.pop("measurements"):
        figures: dict[str, Any] = {
            name: math.nan if value is None else value for name, value in measurement.pop("figures").items()
        }
        measurements.append(Measurement(figures=LoadFigures(**figures), **measurement))
    return Comparison(measurements=measurements, **content)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
