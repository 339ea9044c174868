#!/usr/bin/env bash
# Training throughput and memory on one GPU, in under eight minutes, with torch, transformers and peft alone:
#   bash benchmarks/gpu_check.sh > gpu.json
# Models are of random weights: SmolLM2's shape (135M), and Llama's at 1B and 8B. Nothing is downloaded.
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" benchmarks/gpu_check.py "$@"
