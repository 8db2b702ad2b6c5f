#!/usr/bin/env bash
# Install OccSplat and everything it needs.
#
#   bash tools/install.sh          for training and evaluation
#   bash tools/install.sh --dev    and for tests, style checks and the site
#
# Uses the active virtual environment, or makes .venv in the repository. When
# nothing has changed since the last time it installs nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

DEV=
for arg in "$@"; do
    [ "$arg" = --dev ] || fail "unknown option '$arg', expected --dev"
    DEV=1
done

# supported PYTHON: whether torch and the mm stack have wheels for it
supported() {
    "$1" -c 'import sys
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

# make_environment: .venv, with the first supported Python found
make_environment() {
    local candidate base=''
    for candidate in python3 python3.12 python3.11 python3.10; do
        if supported "$candidate"; then
            base="$candidate"
            break
        fi
    done
    [ -n "$base" ] || fail "OccSplat needs Python 3.10, 3.11 or 3.12, and" \
        "found $(python3 --version 2>/dev/null || echo none). Install one of" \
        "them, or activate an environment that has it"
    "$base" -c 'import ensurepip, venv' 2>/dev/null || fail \
        "$("$base" --version) has no complete venv module (on Debian and" \
        "Ubuntu: apt install python3-venv)"
    say "Making $ENV_DIR with $("$base" --version)"
    # --clear: an interrupted attempt leaves a Python without pip
    "$base" -m venv --clear "$ENV_DIR"
}

# fingerprint FILE...: changes when what they ask for does
fingerprint() {
    cat "$@" | cksum
}

# installed STAMP FINGERPRINT MODULE...: was it done, and is it still there?
installed() {
    local stamp="$1" wanted="$2"
    shift 2
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] &&
        "$PYTHON" -c 'import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))' "$@"
}

pip_install() {
    # the conflicts that --no-deps leaves behind are known
    "$PYTHON" -m pip install --disable-pip-version-check \
        --no-warn-conflicts "$@"
}

install_all() {
    local stamp="$ENV_DIR/.occsplat" wanted mm skip='^$'
    wanted="$(fingerprint requirements.txt requirements-mm.txt setup.py)"
    if installed "$stamp" "$wanted" torch torchvision numba cv2 mmengine \
            mmcv mmdet mmdet3d nuscenes lyft_dataset_sdk \
            safetensors occsplat; then
        echo "OccSplat is installed in $ENV_DIR"
        return
    fi
    say "1/3 PyTorch and other libraries, into $ENV_DIR (about 6 GB)"
    pip_install -r requirements.txt
    say '2/3 The mm packages'
    if "$PYTHON" -m pip show --quiet mmcv 2>/dev/null; then
        echo 'Keeping the compiled mmcv that is installed'
        skip='^mmcv-lite'
    fi
    mapfile -t mm < <(sed 's/ *#.*//; /^$/d' requirements-mm.txt |
        grep -v "$skip")
    pip_install --no-deps "${mm[@]}"
    say '3/3 OccSplat itself, editable'
    pip_install --no-deps --no-build-isolation -e .
    "$PYTHON" -W ignore::RuntimeWarning -m occsplat.compat
    echo "$wanted" > "$stamp"
    say "Installed. To use it in a shell: source '$ENV_DIR/bin/activate'"
}

install_dev() {
    local stamp="$ENV_DIR/.occsplat-dev" wanted
    wanted="$(fingerprint requirements-dev.txt requirements-docs.txt)"
    if ! installed "$stamp" "$wanted" pytest xdist ruff codespell_lib \
            mkdocs nbclient; then
        say 'What tests, style checks and the site of the documents need'
        pip_install -r requirements-dev.txt -r requirements-docs.txt
        echo "$wanted" > "$stamp"
    fi
}

cd "$REPO"
if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
    [ "$ENV_DIR" = "$REPO/.venv" ] || fail "the active environment" \
        "$ENV_DIR has no working Python with pip: repair or deactivate it"
    make_environment
fi
supported "$PYTHON" || fail "OccSplat needs Python 3.10, 3.11 or 3.12;" \
    "$ENV_DIR has $("$PYTHON" --version). Deactivate or remove it"
install_all
[ -z "$DEV" ] || install_dev
