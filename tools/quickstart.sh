#!/usr/bin/env bash
# From a fresh clone to a trained, tested and drawn model, on two CPU cores.
#
#   bash tools/quickstart.sh
#
# What is done already isn't done again: an interrupted run goes on where it
# was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$REPO"
NAME=voxelsplat_fbocc-tiny_minitown
CONFIG="occupancy_configs/voxelsplat/$NAME.py"
WORK_DIR="work_dirs/$NAME"
DATA=data/minitown
PICTURES="outputs/$NAME"

say '1/7 Install'
bash tools/install.sh

say '2/7 Make MiniTown'
"$PYTHON" tools/create_data.py minitown --root "$DATA"

say '3/7 Write info files'
"$PYTHON" tools/create_data.py nuscenes --root "$DATA" --version v1.0-mini

say '4/7 Train'
bash tools/dist_train.sh "$CONFIG" 2 --work-dir "$WORK_DIR" --resume
CHECKPOINT="$WORK_DIR/$(basename "$(cat "$WORK_DIR/last_checkpoint")")"

say '5/7 Test'
"$PYTHON" tools/test.py "$CONFIG" "$CHECKPOINT" --work-dir "$WORK_DIR"

say '6/7 Draw'
"$PYTHON" tools/visualize.py "$CONFIG" "$CHECKPOINT" --out "$PICTURES" \
    --gif

say '7/7 Compare with an untrained model and trivial predictors'
"$PYTHON" tools/compare_baselines.py "$CONFIG" "$CHECKPOINT" \
    --work-dir "$WORK_DIR"

say "Done: scores are in $WORK_DIR, pictures in $PICTURES"
