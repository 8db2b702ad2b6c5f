#!/usr/bin/env bash
# Run the CPU test suite, after installing what it needs.
#
#   bash tools/run_tests.sh [ARGUMENTS OF pytest]
#   bash tools/run_tests.sh -m 'not gpu and not slow' -k voxelsplat
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

bash "$REPO/tools/install.sh" --dev
cd "$REPO"
say 'Testing'
# two workers, one thread each: faster than one worker with two threads
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
"$PYTHON" -m pytest -n 2 --dist loadgroup -m 'not gpu and not long' "$@"
