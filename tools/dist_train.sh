#!/usr/bin/env bash
# Train on several GPUs, or on one, or on the CPU.
#
#   bash tools/dist_train.sh CONFIG GPUS [ARGUMENTS OF tools/train.py]
#
# GPUS counts processes per machine; without a GPU they share the CPU. For
# several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -ge 2 ] || fail 'usage: dist_train.sh CONFIG GPUS [ARGUMENTS]'
CONFIG="$1"
GPUS="$2"

torchrun_here "$GPUS" "$REPO/tools/train.py" "$CONFIG" --launcher pytorch \
    "${@:3}"
