#!/usr/bin/env bash
# Make MiniTowns with all that configs read of them: sensors, labels, info
# files and 2D labels.
#
#   bash tools/make_towns.sh [SEED...]
#
# The town of seed N is data/minitown_townN, that of seed 0 data/minitown.
# Without seeds: those of the bench. What is there already isn't made again.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

need_python
cd "$REPO"
[ $# -gt 0 ] || set -- 4 5 9
for seed in "$@"; do
    root="data/minitown_town$seed"
    [ "$seed" != 0 ] || root=data/minitown
    say "$root"
    "$PYTHON" tools/create_data.py minitown --root "$root" --seed "$seed"
    "$PYTHON" tools/create_data.py nuscenes --root "$root" --version v1.0-mini
    "$PYTHON" tools/create_data.py lidar2d --root "$root" --version v1.0-mini
done
