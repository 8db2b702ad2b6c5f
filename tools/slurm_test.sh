#!/usr/bin/env bash
# Evaluate under Slurm.
#
#   bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS]
#
# ARGUMENTS are those of tools/test.py. From the environment: GPUS (8),
# GPUS_PER_NODE (8), CPUS_PER_TASK (5) and SRUN_ARGS.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -ge 4 ] || fail \
    'usage: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS]'
PARTITION="$1"
JOB_NAME="$2"
CONFIG="$3"
CHECKPOINT="$4"

srun_here "$REPO/tools/test.py" "$CONFIG" "$CHECKPOINT" "${@:5}"
