#!/bin/sh
# Trains the embedded model on its task and shows what it answered before and after.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
run="${1:-runs/demo}"
if [ -e "$run" ]; then
    echo "demo: $run is there already; showing it (remove it to train again)"
else
    swift sft recipes/nano-orders.yaml --output_dir "$run"
fi
exec python bench/learn.py --show "$run"
