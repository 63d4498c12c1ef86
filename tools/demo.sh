#!/bin/sh
# Trains the embedded model on its task and shows what it answered before and after.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
run="${1:-runs/demo}"
if grep -qs '"reason": "finished"' "$run/events.jsonl"; then
    echo "demo: $run is finished; showing it (remove it to train again)"
else
    swift sft recipes/nano-orders.yaml --output_dir "$run" # a run that was stopped goes on
fi
exec python bench/learn.py --show "$run"
