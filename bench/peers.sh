#!/usr/bin/env bash
# make bench-peers: the service beside other servers on the same model, over HTTP; about an hour and a half.
# --quick: one short round of each.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=. BENCH_SERVICE_PYTHON=.venv-serve/bin/python
peers=(--genai-python .venv-genai/bin/python --llama-bin .venv-llama-cpp/llama.cpp
  --vllm-python .venv-vllm/bin/python --optimum-python .venv-optimum/bin/python)

.venv/bin/python -m bench.compare --set mixed --likelihood "${peers[@]}" --out build/bench/mixed.json "$@"
.venv/bin/python -m bench.compare --set short --callers 1,8,16 --out build/bench/short.json \
  --genai-python .venv-genai/bin/python --optimum-python .venv-optimum/bin/python "$@"
.venv/bin/python -m bench.compare --set mixed --callers "" --rates 0.5,1,2,3,4 --rounds 2 \
  --llama-bin .venv-llama-cpp/llama.cpp --llama-weights Q8_0 --vllm-python .venv-vllm/bin/python \
  --out build/bench/arrivals.json "$@"
for name in mixed short arrivals; do
  .venv-plots/bin/python -m bench.plots "build/bench/$name.json" "build/bench/$name.png"
done
