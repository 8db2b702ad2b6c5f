# Sourced by the other scripts. Sets REPO, ENV_DIR (the environment in use:
# the active virtual environment, else .venv in the repository) and PYTHON
# (its interpreter, if it exists yet).

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# conda's base is active by default: nobody chose it for this project
if [ -n "${VIRTUAL_ENV:-}" ]; then
    ENV_DIR="$VIRTUAL_ENV"
elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; then
    ENV_DIR="$CONDA_PREFIX"
else
    ENV_DIR="$REPO/.venv"
fi
PYTHON="$ENV_DIR/bin/python"

# say TEXT: a banner with the seconds since the script began
say() {
    printf '\n==> [%d s] %s\n' "$SECONDS" "$*"
}

# fail TEXT: one line on stderr, and the end
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# need_python: for scripts that don't install
need_python() {
    [ -x "$PYTHON" ] || fail "no Python in $ENV_DIR: run" \
        "'bash tools/install.sh' first, or activate your environment"
}

# torchrun_here GPUS SCRIPT ARGUMENTS: GPUS processes of SCRIPT on this
# machine, one of NNODES. On a single machine any free port does.
torchrun_here() {
    local gpus="$1" port="${PORT:-}"
    shift
    case "$gpus" in
        '' | *[!0-9]* | 0)
            fail "GPUS must be a number of processes, got '$gpus'" ;;
    esac
    need_python
    if [ -z "$port" ]; then
        [ "${NNODES:-1}" = 1 ] || fail "NNODES=$NNODES needs PORT, the same" \
            'one on every machine'
        port="$("$PYTHON" -c 'import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])')"
    fi
    "$PYTHON" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$port" \
        --nproc_per_node="$gpus" \
        "$@"
}

# srun_here ARGUMENTS: Python under Slurm, see slurm_train.sh
srun_here() {
    need_python
    # SRUN_ARGS is a list of arguments: split it
    # shellcheck disable=SC2086
    srun --partition="$PARTITION" \
        --job-name="$JOB_NAME" \
        --gres="gpu:${GPUS_PER_NODE:-8}" \
        --ntasks="${GPUS:-8}" \
        --ntasks-per-node="${GPUS_PER_NODE:-8}" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "$PYTHON" -u "$@" --launcher slurm
}
