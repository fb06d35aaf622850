#!/usr/bin/env bash
# make bench: decode speed beside onnxruntime-genai on the same folder, the time to be ready, and the tuner beside
# EZKL's own calibration, and what the service adds to EZKL.
# genai brings plain onnxruntime, which must not share an environment with onnxruntime-gpu.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -f .venv-genai/stamp ]; then
  echo "==> creating .venv-genai for onnxruntime-genai"
  "${PYTHON:-python3}" -m venv .venv-genai
  .venv-genai/bin/pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/genai.txt
  touch .venv-genai/stamp
fi

export PYTHONPATH=.
.venv/bin/python -m bench.decode --genai-python .venv-genai/bin/python "$@"
.venv/bin/python -m bench.start
.venv/bin/python -m bench.circuit
.venv/bin/python -m bench.proofs
