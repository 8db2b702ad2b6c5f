#!/usr/bin/env bash
# Check everything on an NVIDIA GPU and write a report, see docs/install.md.
#
#   bash tools/gpu_check.sh [--out FOLDER] [--dry]
#
# Runs with the environment that the other scripts use; where there is none,
# with PYTHON, or python3.
set -euo pipefail
GIVEN="${PYTHON:-}"
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

if [ -n "$GIVEN" ]; then
    PYTHON="$GIVEN"
elif [ ! -x "$PYTHON" ]; then
    PYTHON=python3
fi
exec "$PYTHON" "$REPO/tools/gpu_check.py" "$@"
