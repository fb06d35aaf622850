"""Decode at batch 1 beside onnxruntime-genai: same folder, prompts, tokens and threads, runs interleaved.

Usage: python -m bench.decode --genai-python PATH [--runs 5]
"""

import argparse
import json
import statistics
import subprocess
import sys

from bench.prompts import PROMPTS

from adapters.onnx.builder import TqdmReporter
from adapters.processors import num_processors
from adapters.settings import read_settings
from entrypoints.model_source import prepare_model

Measured = dict[str, float]


def main() -> None:
    """Print the median of each prompt, and of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--genai-python", required=True)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    folder = str(prepare_model(read_settings(), TqdmReporter()).folder)
    threads = str(num_processors())
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(options.runs):
        ours += measured(sys.executable, "bench.decode_engine", folder, threads)
        theirs += measured(options.genai_python, "bench.decode_genai", folder, threads)
    print(f"decode at batch 1, {threads} threads, {options.runs} interleaved runs, medians, tokens/s:")
    num_prompts = len(PROMPTS)
    for index in range(num_prompts):
        report(f"prompt {index + 1}", ours[index::num_prompts], theirs[index::num_prompts])
    report("all", ours, theirs)


def measured(python: str, module: str, *arguments: str) -> list[Measured]:
    """Run one engine in a process of its own; returns what it measured, a prompt a line."""
    command = [python, "-m", module, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def report(name: str, ours: list[Measured], theirs: list[Measured]) -> None:
    """Print a line: the median speeds, their ratio, and the tokens that each generated a run."""
    our_rate = statistics.median(m["tokens_per_s"] for m in ours)
    their_rate = statistics.median(m["tokens_per_s"] for m in theirs)
    our_tokens, their_tokens = (statistics.mean(m["num_tokens"] for m in runs) for runs in (ours, theirs))
    print(
        f"  {name:9} ours {our_rate:6.1f}  genai {their_rate:6.1f}  ratio {our_rate / their_rate:.2f}  "
        f"({our_tokens:.0f} and {their_tokens:.0f} tokens)",
    )


if __name__ == "__main__":
    main()
