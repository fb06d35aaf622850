"""Compares serving targets side by side on one prompt set: interleaved rounds, medians, ratios against ours.

Every server is started once and stilled while another is measured. In a round all get the same prompts, which
no round or load repeats, so that nobody's prefix cache holds them; the order turns from round to round.

Usage: python -m bench.compare [--set mixed] [--callers 1,4,8,16] [--rates 1,2] [--rounds 4] [peers …]
"""

import argparse
import math
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import models
from bench.genai import GenaiBatches
from bench.likelihood import Judge
from bench.load import MAX_TOKENS, Load
from bench.measurements import OURS, Comparison, Measurement
from bench.prompt_sets import PROMPT_SETS, conversations
from bench.targets import (
    Remote,
    Target,
    blocking,
    first_model,
    llama_cpp,
    service,
    vllm,
    xllamacpp,
)

from adapters.processors import num_processors

NUM_WARM_UP = 2
JUDGED_CALLERS = 8
MAX_JUDGED_WAVES = 3
QUICK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure."""

    prompt_set: str
    callers: Sequence[int]
    rates: Sequence[float]
    num_rounds: int
    requests_per_caller: int
    min_tokens: int | None
    max_tokens: int
    limit_s: float
    """No round begins that would probably end later."""
    is_judged: bool

    def loads(self, round_number: int, target: Target) -> Iterator[tuple[str, Load]]:
        """Yield a target's loads of a round with their names."""
        waves = 1 if target.is_serial else self.requests_per_caller
        for num_callers in self.callers:
            yield (
                f"{num_callers} callers",
                Load(
                    self.prompt_set,
                    max(waves * num_callers, 2 if target.is_serial else 4),
                    num_callers=num_callers,
                    seed=f"{round_number} {num_callers}",
                    min_tokens=self.min_tokens,
                    max_tokens=self.max_tokens,
                ),
            )
        for rate in self.rates if target.takes_arrivals else ():
            yield (
                f"{rate:g} requests/s",
                Load(
                    self.prompt_set,
                    max(8, math.ceil(rate * 10)),
                    rate=rate,
                    seed=f"{round_number} {rate}",
                    min_tokens=self.min_tokens,
                    max_tokens=self.max_tokens,
                ),
            )


def compare(targets: Sequence[Target], plan: Plan) -> Comparison:
    """Start the targets, measure, score their answers, stop them."""
    comparison = Comparison(plan.prompt_set, machine())
    with ExitStack() as stack:
        for target in targets:
            print(f"==> starting {target.name}", flush=True)
            stack.callback(target.stop)
            target.start()
            target.run(Load("short", NUM_WARM_UP, num_callers=1, seed="warm-up", max_tokens=8))
            target.pause()
        began_s = time.monotonic()
        for number in range(plan.num_rounds):
            if number and (time.monotonic() - began_s) * (number + 1) / number > plan.limit_s:
                print(f"==> out of time after {number} rounds", flush=True)
                break
            turn = number % len(targets)
            for target in (*targets[turn:], *targets[:turn]):
                comparison.measurements += _measured(target, plan, number)
        if plan.is_judged:
            comparison.likelihoods = _likelihoods(targets, plan)
    # in the order of the targets, whoever came first in the first round
    names = [target.name for target in targets]
    comparison.measurements.sort(key=lambda m: (m.round, names.index(m.target)))
    return comparison


def _measured(target: Target, plan: Plan, number: int) -> list[Measurement]:
    target.resume()
    measurements = []
    for name, load in plan.loads(number, target):
        figures, _ = target.run(load)
        print(
            f"    round {number + 1}  {name:16} {target.name:26} {figures.tokens_per_s:7.1f} tok/s",
            flush=True,
        )
        measurements.append(Measurement(target.name, name, number, figures, target.memory_bytes))
    target.pause()
    return measurements


def _likelihoods(targets: Sequence[Target], plan: Plan) -> dict[str, float]:
    """Score answers that end where the model ends them."""
    judge = Judge(models.fp32_folder())
    load = Load(
        plan.prompt_set,
        JUDGED_CALLERS * min(plan.requests_per_caller, MAX_JUDGED_WAVES),
        num_callers=JUDGED_CALLERS,
        seed="judged",
        max_tokens=plan.max_tokens,
        fields={},
    )
    asked = conversations(load.prompt_set, load.num_requests, load.seed)
    likelihoods = {}
    for target in targets:
        if not target.takes_arrivals:
            continue  # its static batches cannot end a row alone and start another
        target.resume()
        likelihoods[target.name] = judge.negative_log_likelihood(asked, target.run(load)[1])
        target.pause()
    return likelihoods


def machine() -> str:
    """Return what the figures were measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    gpus = [
        line.partition(":")[2].strip()
        for file in Path("/proc/driver/nvidia/gpus").glob("*/information")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("Model")
    ]
    return ", ".join([f"{num_processors()} x {names[0] if names else platform.machine()}", *gpus])


def targets_of(options: argparse.Namespace) -> list[Target]:
    """Return the targets that the command line names; ours is the first."""
    found: list[Target] = [service(OURS)]
    if options.genai_python:
        found.append(GenaiBatches(options.genai_python, models.served_folder()))
    for weights in options.llama_weights.split(","):
        if options.llama_bin:
            gguf = models.quantized_gguf(options.llama_bin / "llama-quantize", weights)
            found.append(llama_cpp(options.llama_bin / "llama-server", gguf, weights))
    if options.xllamacpp:
        found.append(xllamacpp(models.gguf_file(), "Q4_1"))
    if options.vllm_python:
        found += [
            vllm(options.vllm_python, models.hugging_face_checkpoint(), dtype)
            for dtype in options.vllm_dtypes.split(",")
        ]
    if options.optimum_python:
        found.append(blocking(options.optimum_python, models.exported_folder(options.optimum_python)))
    if options.url:
        found.append(remote(options.url, options.url_model))
    return found


def remote(url: str, model: str | None) -> Remote:
    """Return somebody else's server."""
    api_key = os.environ.get("BENCH_API_KEY")
    return Remote(url, model or first_model(url, api_key), api_key)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return how to measure; ``--quick`` is one short round, to see that everything works."""
    return Plan(
        prompt_set=options.set,
        callers=[int(number) for number in options.callers.split(",") if number],
        rates=[float(rate) for rate in options.rates.split(",") if rate],
        num_rounds=1 if options.quick else options.rounds,
        requests_per_caller=1 if options.quick else options.requests,
        min_tokens=None if options.quick else options.min_tokens,
        max_tokens=QUICK_TOKENS if options.quick else options.tokens,
        limit_s=options.minutes * 60,
        is_judged=options.likelihood,
    )


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=sorted(PROMPT_SETS), default="mixed")
    parser.add_argument("--callers", default="1,4,8,16", help="closed loops")
    parser.add_argument("--rates", default="", help="open loops, in requests a second")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=4, help="of each caller, in a round")
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS, help="of each answer")
    parser.add_argument("--min-tokens", type=int, help="of the shortest; absent: all have the same length")
    parser.add_argument("--minutes", type=float, default=60, help="begin no round that would end later")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--likelihood", action="store_true", help="score the answers under the fp32 model")
    parser.add_argument("--out", type=Path, help="JSON of all measurements")
    peers = parser.add_argument_group("peers")
    peers.add_argument("--genai-python", type=Path, help="Python with onnxruntime-genai")
    peers.add_argument("--llama-bin", type=Path, help="folder of llama-server and llama-quantize")
    peers.add_argument("--llama-weights", default="Q8_0,Q4_0,Q4_1")
    peers.add_argument("--xllamacpp", action="store_true", help="llama.cpp's server from the wheel")
    peers.add_argument("--vllm-python", type=Path, help="Python with vLLM")
    peers.add_argument("--vllm-dtypes", default="bfloat16")
    peers.add_argument("--optimum-python", type=Path, help="Python of `make test-optimum`")
    peers.add_argument("--url", help="any OpenAI-compatible API; its key is read from BENCH_API_KEY")
    peers.add_argument("--url-model", help="its name there; absent: the first that is listed")
    return parser.parse_args()


def main() -> None:
    """Compare, print the table, write the JSON."""
    options = parsed()
    comparison = compare(targets_of(options), plan_of(options))
    print(f"\nset {comparison.prompt_set}, {comparison.machine}; medians, ranges over the rounds\n")
    print(comparison.table())
    if options.out:
        comparison.save(options.out)
        print(f"\n{options.out}")


if __name__ == "__main__":
    main()
