#!/usr/bin/env bash
# make bench: what needs no more than the service's environment and onnxruntime-genai's; about two hours.
# --quick: each measurement once and short, to see that all of them work.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=. BENCH_SERVICE_PYTHON=.venv-serve/bin/python
quick=("$@")

measure() {
  printf '\n==> bench.%s\n' "$*"
  .venv/bin/python -m "bench.$@"
}

# decode: the same folder in onnxruntime-genai's own process, which batches statically
measure compare --set short --callers 1,8,16 --genai-python .venv-genai/bin/python \
  --out build/bench/decode.json "${quick[@]}"
measure engine_loop "${quick[@]}"
measure overhead "${quick[@]}"
measure stall "${quick[@]}"
measure prefix "${quick[@]}"
measure lookup "${quick[@]}"
measure constrained "${quick[@]}"
measure workers "${quick[@]}"
measure cancellation "${quick[@]}"
measure overload "${quick[@]}"
measure soak "${quick[@]}"
# batch 1 without HTTP, the start, and what proofs cost
measure passes
measure decode --genai-python .venv-genai/bin/python
measure start
measure circuit
measure proofs
