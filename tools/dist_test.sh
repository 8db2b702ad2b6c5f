#!/usr/bin/env bash
# Evaluate on several GPUs, or on one, or on the CPU.
#
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [ARGUMENTS OF tools/test.py]
#
# GPUS counts processes per machine; without a GPU they share the CPU. For
# several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -ge 3 ] || fail 'usage: dist_test.sh CONFIG CHECKPOINT GPUS [ARGUMENTS]'
CONFIG="$1"
CHECKPOINT="$2"
GPUS="$3"

torchrun_here "$GPUS" "$REPO/tools/test.py" "$CONFIG" "$CHECKPOINT" \
    --launcher pytorch "${@:4}"
