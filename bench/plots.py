"""Draws throughput against latency, a curve a target, from what ``bench.compare --out`` wrote.

Runs in the environment of ``requirements/plots.txt``.

Usage: python -m bench.plots COMPARISON.json FILE.png
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib import ticker

PANELS = (
    ("first_token_p50_s", "time to first token, median (s)"),
    ("latency_p50_s", "request latency, median (s)"),
)


def main(source: Path, destination: Path) -> None:
    """Write the picture."""
    mpl.use("Agg")
    comparison = json.loads(source.read_text(encoding="utf-8"))
    measurements = comparison["measurements"]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 5), layout="constrained")
    for axis, (name, label) in zip(axes, PANELS, strict=True):
        for target in dict.fromkeys(m["target"] for m in measurements):
            own = [m for m in measurements if m["target"] == target]
            loads = list(dict.fromkeys(m["load"] for m in own))
            points = [_point([m["figures"] for m in own if m["load"] == load], name) for load in loads]
            line = axis.plot(*zip(*points, strict=True), marker="o", label=target)[0]
            for load, point in zip(loads, points, strict=True):
                axis.annotate(
                    load.split()[0], point, fontsize=7, color=line.get_color(),
                    xytext=(3, 3), textcoords="offset points",
                )  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_xlabel(label)
        axis.set_ylabel("output tokens/s")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle(f"set {comparison['prompt_set']}, {comparison['machine']}; points: callers or requests/s")
    destination.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(destination, dpi=120)


def _point(figures: list[dict[str, Any]], name: str) -> tuple[float, float]:
    return (
        statistics.median(f[name] for f in figures),
        statistics.median(f["tokens_per_s"] for f in figures),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
