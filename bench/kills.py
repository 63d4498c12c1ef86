"""Kills a run twenty times at seeded moments, at least five of them inside a save; each is resumed.

    PYTHONPATH=. python bench/kills.py

The recipe has dropout, shuffling, an accumulation of two and a ragged last window. Each resumed run
must end in the very bytes of the undisturbed one: weights, optimiser, generators.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from swift.checkpoint import checkpoints, read_card
from tests.run.test_resume import Place, wait_for_steps

KILLS, IN_SAVE = 20, 7


def main() -> int:
    draw = random.Random(3)
    place = Place(Path(tempfile.mkdtemp()), "{name: lora, dropout: 0.2}")
    calm = place.finish("calm")
    print("| kill | after step | inside a save | left whole | ends equal |\n|---|---|---|---|---|")
    bad = 0
    for number in range(KILLS):
        out = f"killed-{number}"
        folder = place.base / out
        child = place.start(out)
        step = draw.randint(1, 10)
        wait_for_steps(folder, step)
        if number < IN_SAVE:
            until = time.monotonic() + 30
            while not list(folder.glob(".checkpoint-*.partial")) and time.monotonic() < until:
                pass
            time.sleep(draw.random() * 0.002)
        else:
            time.sleep(draw.random() * 0.08)
        child.kill()
        inside = bool(list(folder.glob(".checkpoint-*.partial")))
        child.communicate()
        whole = [read_card(c).step for c in checkpoints(folder)]
        equal = place.finish(out) == calm
        bad += not equal
        print(f"| {number + 1} | {step} | {inside} | {whole} | {equal} |", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
