"""Does the embedded model learn its task? Held-out exact match before and after, seed by seed.

    python bench/learn.py --seeds 5         # a table; `make learn`
    python bench/learn.py --held-out-seed 8 # other held-out rows
    python bench/learn.py --show runs/x     # one run: before, after, and a few answers

Each seed is a whole `swift sft recipes/nano-orders.yaml` in a process of its own. Controls: the
base with ten worked examples in its prompt, and a run on shuffled answers. Answers are greedy, by
plain transformers and PEFT; JSON is compared exactly: keys in any
order, types as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from swift.checkpoint import newest, read_card
from swift.core.env import cache_home
from swift.dataset.generated import samples
from swift.model.find import find_model
from swift.score.exact_match import same_json

KINDS = ("combo", "new", "pseudo")
HELD_OUT_SEED = 7
"""Draws the held-out rows; those of 7 were looked at while text, tokenizer and recipe were made."""

RECIPE = Path(__file__).parents[1] / "recipes" / "nano-orders.yaml"
Turn = dict[str, str]


def load(folder: Path) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a model folder or of a checkpoint with an adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 uses an old name of transformers 5

    adapter = (folder / "adapter_config.json").is_file()
    base = read_card(folder).base if adapter else str(folder)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return (PeftModel.from_pretrained(model, folder) if adapter else model).eval(), tokenizer


def answers(model: Any, tokenizer: Any, asked: list[list[Turn]]) -> list[str]:
    """Return the greedy answer to each conversation."""
    found: list[str] = []
    for i in range(0, len(asked), 50):
        texts = [
            tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            for turns in asked[i : i + 50]
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            made = model.generate(**inputs, max_new_tokens=72, do_sample=False)
        new = made[:, inputs["input_ids"].shape[1] :]
        found += tokenizer.batch_decode(new, skip_special_tokens=True)
    return found


def exact(
    model: Any,
    tokenizer: Any,
    kind: str,
    count: int,
    *,
    shots: int = 0,
    seed: int = HELD_OUT_SEED,
) -> float:
    """Return the share of `count` held-out rows of a kind that are answered exactly."""
    rows = [row["messages"] for row in islice(samples("orders", kind, seed), count)]
    shown = [t for row in islice(samples("orders", "train", seed), shots) for t in row["messages"]]
    said = answers(model, tokenizer, [[*shown, row[0]] for row in rows])
    good = [same_json(answer, row[1]["content"]) for answer, row in zip(said, rows, strict=True)]
    return sum(good) / len(good)


def tune(seed: int, folder: Path, *options: str) -> tuple[Path, float]:
    """Run the recipe and return (checkpoint, CPU seconds of the whole process)."""
    words = [sys.executable, "-m", "swift", "sft", str(RECIPE), "--train.seed", str(seed)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*words, "--output_dir", str(folder), *options],
        check=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = newest(folder)
    assert last is not None
    return last, cpu


def shuffled(path: Path, seed: int) -> Path:
    """Write the training rows with their answers dealt out at random."""
    rows = [row["messages"] for row in samples("orders", "train", seed)]
    said = [row[1]["content"] for row in rows]
    random.Random(seed).shuffle(said)
    with path.open("w", encoding="utf-8") as file:
        for row, answer in zip(rows, said, strict=True):
            turns = [row[0], {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    return path


def table(seeds: int, rows: int, held_out_seed: int) -> None:
    """Print the base's ten-shot shares, then a line for each seed of the fine-tuning."""
    held = partial(exact, seed=held_out_seed)
    base = find_model("nano", cache_home())
    model, tokenizer = load(base)
    shots = [held(model, tokenizer, kind, min(rows, 60), shots=10) for kind in KINDS]
    print(f"base, ten shots: {percent(shots)} (goal: all below 20 %)\n", flush=True)
    print("| seed | combo | new | pseudo | mean | shuffled answers | CPU s |\n|" + "---|" * 7)
    for seed in range(1, seeds + 1):
        work = Path(tempfile.mkdtemp())
        checkpoint, cpu = tune(seed, work / "run")
        model, tokenizer = load(checkpoint)
        got = [held(model, tokenizer, kind, rows) for kind in KINDS]
        wrong = shuffled(work / "shuffled.jsonl", seed)
        control, _ = tune(seed, work / "control", "--dataset", str(wrong))
        model, tokenizer = load(control)
        chance = sum(held(model, tokenizer, kind, min(rows, 60)) for kind in KINDS) / len(KINDS)
        shares = " | ".join(f"{g:.1%}" for g in got)
        mean = sum(got) / len(got)
        print(f"| {seed} | {shares} | {mean:.1%} | {chance:.1%} | {cpu:.0f} |", flush=True)
        shutil.rmtree(work)


def show(run: Path, seed: int) -> None:
    """Print what one run learned."""
    checkpoint = newest(run)
    if checkpoint is None:
        raise SystemExit(f"{run} holds no checkpoint")
    before = load(Path(read_card(checkpoint).base))
    after = load(checkpoint)
    print("\nexact match on held-out orders (100 of each kind)\n")
    print(f"{'kind':>8} {'before':>8} {'after':>8}")
    for kind in KINDS:
        first, then = (exact(*model, kind, 100, seed=seed) for model in (before, after))
        print(f"{kind:>8} {first:>8.0%} {then:>8.0%}")
    rows = [row["messages"] for kind in KINDS for row in islice(samples("orders", kind, seed), 2)]
    asked = [[row[0]] for row in rows]
    print()
    firsts, thens = answers(*before, asked), answers(*after, asked)
    for turns, old, new in zip(asked, firsts, thens, strict=True):
        print(f"  asked   {turns[0]['content']}\n  before  {old[:90]!r}\n  after   {new}\n")
    print(f"checkpoint: {checkpoint}")


def percent(shares: list[float]) -> str:
    return ", ".join(f"{kind} {share:.1%}" for kind, share in zip(KINDS, shares, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=200, help="held-out rows of each kind")
    parser.add_argument("--held-out-seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--show", type=Path, help="a run folder to show instead")
    asked = parser.parse_args()
    if asked.show:
        show(asked.show, asked.held_out_seed)
    else:
        table(asked.seeds, asked.rows, asked.held_out_seed)


if __name__ == "__main__":
    main()
