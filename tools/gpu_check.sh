#!/usr/bin/env bash
# What a session with a GPU for a few minutes should measure, in one go (docs/performance.md, "Accelerators").
#
#   tools/gpu_check.sh pack [FOLDER]      here: all that is needed there, in build/gpu_check (under 60 MB)
#   FOLDER/gpu_check.sh run               there: needs python3, NVIDIA's driver and a CUDA plugin (JAX's will do), nothing else
#   tools/gpu_check.sh self-test          here: both, on the CPU with a small shape
#
# The table and the figures as JSON come to $OUT, or to gpu_check_results/. Options: gpu_check.sh run --help.
set -eu
exec python3 "$(dirname "$0")/gpu_check.py" "$@"
