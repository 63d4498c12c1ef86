#!/bin/sh
# Makes .venv beside this folder's parent and installs swift with its development tools.
# Without a GPU torch comes as its CPU build, never as gigabytes of CUDA.
set -eu
cd "$(dirname "$0")/.."
TORCH="${TORCH:-torch==2.13.0}"

find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        echo "$candidate"
        return
    done
    echo "setup: no Python 3.11 or newer was found; install one, or name it: PYTHON=/path make setup" >&2
    exit 3
}

python=$(find_python)
if [ ! -x .venv/bin/python ]; then
    echo "setup: making .venv with $python"
    "$python" -m venv .venv || {
        rm -rf .venv
        echo "setup: $python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2
        exit 3
    }
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
        echo "setup: installing $TORCH for this machine's GPU"
        pip install -q "$TORCH"
    else
        echo "setup: installing the CPU build of $TORCH"
        # What pip is configured for first (a folder of wheels, a mirror), if that is a CPU build;
        # else the wheels that PyTorch serves for CPUs.
        if ! pip download -q --no-deps -d .venv/torch "$TORCH" 2>/dev/null \
            || [ "$(du -m .venv/torch | cut -f1)" -gt 400 ]; then
            rm -rf .venv/torch
            pip install -q --index-url https://download.pytorch.org/whl/cpu "$TORCH"
        else
            pip install -q .venv/torch/*.whl
        fi
        rm -rf .venv/torch
    fi
fi
echo "setup: installing swift and its tools"
pip install -q -e ".[dev]"
.venv/bin/swift --version
