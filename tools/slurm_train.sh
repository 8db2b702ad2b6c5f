#!/usr/bin/env bash
# Train under Slurm.
#
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [ARGUMENTS OF train.py]
#
# From the environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and
# SRUN_ARGS.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -ge 3 ] || fail \
    'usage: slurm_train.sh PARTITION JOB_NAME CONFIG [ARGUMENTS]'
PARTITION="$1"
JOB_NAME="$2"
CONFIG="$3"

srun_here "$REPO/tools/train.py" "$CONFIG" "${@:4}"
