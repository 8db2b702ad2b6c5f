#!/usr/bin/env bash
# See what a shipped network sees, about a minute after the installation.
#
#   bash tools/demo.sh
#
# Makes a scene that nobody trained on, predicts it, and draws prediction and
# truth. What is done already isn't done again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$REPO"
NAME=voxelsplat_fbocc-tiny_minitown
CONFIG="occupancy_configs/voxelsplat/$NAME.py"
WEIGHTS="occupancy_configs/voxelsplat/$NAME.safetensors"
# a town that neither the network nor its encoder was trained on
DATA=data/minitown-demo
SEED=7
FRAMES=6
OUT=outputs/demo
TESTED="$OUT/test"

# done_since FILE: whether it was made with these weights
done_since() {
    [ -f "$1" ] && [ ! "$WEIGHTS" -nt "$1" ]
}

need_python
[ -f "$WEIGHTS" ] || fail "$WEIGHTS is missing: it is part of the" \
    'repository, see git status'
mkdir -p "$TESTED"

if [ ! -f "$DATA/occsplat_infos_val.pkl" ]; then
    say '1/3 Make a scene (two: nuScenes wants one for training, too)'
    "$PYTHON" tools/create_data.py minitown --root "$DATA" --scenes 2 \
        --frames "$FRAMES" --seed "$SEED" --workers 2
    "$PYTHON" tools/create_data.py nuscenes --root "$DATA" \
        --version v1.0-mini
fi

if ! done_since "$OUT/films"; then
    say '2/3 Predict and draw'
    "$PYTHON" tools/visualize.py "$CONFIG" "$WEIGHTS" --out "$OUT" --gif \
        --frames "$FRAMES" --cfg-options "data_root=$DATA/"
    ls "$OUT"/*.gif > "$OUT/films"
fi

if ! done_since "$TESTED/metrics.json"; then
    say "3/3 Score (all tables: $TESTED/tables.log)"
    "$PYTHON" tools/test.py "$CONFIG" "$WEIGHTS" --work-dir "$TESTED" \
        --cfg-options "data_root=$DATA/" > "$TESTED/tables.log"
fi

"$PYTHON" -c 'import json, sys
scores = json.load(open(sys.argv[1]))["metrics"]
print("\nOn this scene:", ", ".join(
    f"{key} {scores[key]:.3f}" for key in ("RayIoU", "mIoU", "IoU")))' \
    "$TESTED/metrics.json"
say "Done: look at $(tr '\n' ' ' < "$OUT/films")and the sheets in $OUT"
