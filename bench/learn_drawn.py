"""Does grpo learn from rewards alone, on questions it never saw?

    python bench/learn_drawn.py --seeds 3       # a table; part of `make learn`

Each line is a training of nano on nano-numbers: it draws answers to "Pick the largest: ..." and is
told which are right. Its judge is plain transformers on 200 held-out questions, each answered once
at temperature 1, after every 20 steps, and once greedily at the end. Of the controls, `dealt` gives
the rewards of a rollout to its answers at random, so that as many are praised, but any; in `coin`
a coin that falls heads once in four praises, so that praise goes on where no answer is right.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from learn import load
from swift import train_grpo
from swift.core.env import cache_home
from swift.dataset.generated import samples
from swift.model.find import find_model
from swift.reward import Answer

HELD_OUT_SEED = 20261121
"""Draws the held-out questions; those of 42, the run's own, were looked at while rates were
chosen."""

WAY: dict[str, Any] = {
    "recipe": Path(__file__).parents[1] / "recipes" / "grpo.yaml",
    "save_every": 20,
    "keep": 4,
}


def share(folder: Path, rows: list[dict[str, Any]], *, sampled: bool) -> float:
    """Return the share of questions that are answered right."""
    model, tokenizer = load(folder)
    torch.manual_seed(0)
    right = 0
    for i in range(0, len(rows), 50):
        some = rows[i : i + 50]
        texts = [
            tokenizer.apply_chat_template(
                row["messages"], tokenize=False, add_generation_prompt=True
            )
            for row in some
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        how = {"do_sample": True, "top_k": 0} if sampled else {"do_sample": False}
        with torch.no_grad():
            made = model.generate(**inputs, max_new_tokens=8, **how)
        said = tokenizer.batch_decode(
            made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        right += sum(a.strip() == row["solution"] for a, row in zip(said, some, strict=True))
    return right / len(rows)


def dealt(answers: Sequence[Answer]) -> list[float]:
    """Return what accuracy gives the answers, dealt out at random."""
    values = [float(answer.text.strip() == answer.solution) for answer in answers]
    random.Random(answers[0].version).shuffle(values)
    return values


def coin(answers: Sequence[Answer]) -> list[float]:
    """Return 1 once in four, whatever an answer says."""
    draw = random.Random(f"{answers[0].version} {answers[0].text}")
    return [float(draw.random() < 0.25) for _ in answers]


REWARDS: dict[str, Any] = {"right": "accuracy", "dealt": dealt, "coin": coin}


def line(name: str, seed: int, rows: list[dict[str, Any]]) -> str:
    """Return a line of the table."""
    with tempfile.TemporaryDirectory() as work:
        before, begin = time.process_time(), time.monotonic()
        with redirect_stderr(StringIO()):
            made = train_grpo(
                "nano",
                reward=REWARDS[name],
                output_dir=f"{work}/run",
                **{"train.seed": seed},
                **WAY,
            )
        cpu, wall = time.process_time() - before, time.monotonic() - begin
        found = [share(place, rows, sampled=True) for place in made.checkpoints]
        found.append(share(made.checkpoint, rows, sampled=False))
    shown = " | ".join(f"{each:.1%}" for each in found)
    return f"| {name} | {seed} | {shown} | {cpu:.0f} | {wall:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--controls", type=int, default=1, help="seeds of each control")
    parser.add_argument("--held-out-seed", type=int, default=HELD_OUT_SEED)
    asked = parser.parse_args()
    rows = list(samples("numbers", "validation", asked.held_out_seed))
    base = find_model("nano", cache_home())
    sampled, greedy = (share(base, rows, sampled=s) for s in (True, False))
    print(f"before: {sampled:.1%}, greedy {greedy:.1%}\n", flush=True)
    columns = [
        "reward",
        "seed",
        *(f"{n} steps" for n in (20, 40, 60, 80)),
        "greedy",
        "CPU s",
        "wall s",
    ]
    print(f"| {' | '.join(columns)} |\n|" + "---|" * len(columns), flush=True)
    kinds = [("right", seed) for seed in range(1, asked.seeds + 1)]
    kinds += [(n, seed) for n in list(REWARDS)[1:] for seed in range(1, asked.controls + 1)]
    for name, seed in kinds:
        print(line(name, seed, rows), flush=True)


if __name__ == "__main__":
    main()
