"""Do methods that learn from pairs prefer the right answer to questions they never saw?

    python bench/learn_pairs.py --seeds 3            # a table; part of `make learn`
    python bench/learn_pairs.py --methods dpo,rm     # only these

Each line is a training of nano on nano-preferences; a control
has the two answers of each training pair swapped at random. The judge is plain transformers and
PEFT on 200 held-out pairs. `right`: the share of pairs whose right answer has gained more log p
over the base than the wrong one (the reward of dpo), or, of rm, has the higher score; half of them
by chance. `margin`: by how much on average, in nats or units of the score. `likelier`: the share
of pairs whose right answer is the likelier one.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learn import load
from swift import train
from swift.checkpoint import read_card
from swift.core.env import cache_home
from swift.dataset.generated import samples
from swift.model.find import find_model

HELD_OUT_SEED = 20261121
"""Draws the held-out pairs; those of 7 were looked at while steps and rates were chosen."""

WAYS: dict[str, dict[str, Any]] = {
    "rm": {"max_steps": 60, "learning_rate": 2e-3},
    "dpo": {"max_steps": 40, "learning_rate": 1e-3},
    "kto": {"max_steps": 60, "learning_rate": 2e-3},
    "orpo": {"max_steps": 60, "learning_rate": 2e-3},
    "simpo": {"max_steps": 40, "learning_rate": 1e-3},
    "cpo": {"max_steps": 60, "learning_rate": 2e-3},
}
"""Each method's options; all else is the default."""


class Held(NamedTuple):
    """What is found on held-out pairs."""

    right: float
    margin: float
    likelier: float | None = None

    def __str__(self) -> str:
        likelier = "" if self.likelier is None else f"{self.likelier:.1%}"
        return f"{self.right:.1%} | {self.margin:.2f} | {likelier}"


Pair = dict[str, str]


def judged(method: str, checkpoint: Path, pairs: list[Pair], base: Tensor) -> Held:
    """Return what a checkpoint makes of held-out pairs."""
    if method == "rm":
        chosen, rejected = (scores(checkpoint, pairs, side) for side in ("chosen", "rejected"))
        return Held(_share(chosen > rejected), float((chosen - rejected).mean()))
    tuned = differences(checkpoint, pairs)
    gained = tuned - base
    return Held(_share(gained > 0), float(gained.mean()), _share(tuned > 0))


def _share(found: Tensor) -> float:
    return float(found.double().mean())


def differences(folder: Path, pairs: list[Pair]) -> Tensor:
    """Return log p of the right answer minus that of the wrong one, of each pair."""
    model, tokenizer = load(folder)
    found = []
    for some in _batches(pairs):
        right, wrong = (_logp(model, tokenizer, some, side) for side in ("chosen", "rejected"))
        found.append(right - wrong)
    return torch.cat(found)


def _logp(model: Any, tokenizer: Any, pairs: list[Pair], side: str) -> Tensor:
    ids_BT, begins_B = _written(tokenizer, pairs, side)
    with torch.no_grad():
        logits = model(ids_BT).logits[:, :-1]  # right padding: a causal model sees none of it
    logp_BT = logits.log_softmax(-1).gather(-1, ids_BT[:, 1:, None])[..., 0]
    places = torch.arange(1, ids_BT.shape[1])[None]
    said = (places >= begins_B[:, None]) & (ids_BT[:, 1:] != tokenizer.pad_token_id)
    return (logp_BT * said).sum(-1)


def _written(tokenizer: Any, pairs: list[Pair], side: str) -> tuple[Tensor, Tensor]:
    """Return whole conversations, right-padded, and where each answer begins."""
    rows, begins = [], []
    for pair in pairs:
        asked = [{"role": "user", "content": pair["prompt"]}]
        said = [*asked, {"role": "assistant", "content": pair[side]}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(said, tokenize=False).rstrip("\n")
        assert whole.startswith(prompt)
        rows.append(torch.tensor(tokenizer(whole, add_special_tokens=False)["input_ids"]))
        begins.append(len(tokenizer(prompt, add_special_tokens=False)["input_ids"]))
    pad = tokenizer.pad_token_id
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    return padded, torch.tensor(begins)


def scores(checkpoint: Path, pairs: list[Pair], side: str) -> Tensor:
    """Return the scores that a reward model gives the conversations."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # the base's head is missing: the adapter has it
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    base = AutoModelForSequenceClassification.from_pretrained(
        read_card(checkpoint).base, num_labels=1, pad_token_id=tokenizer.pad_token_id
    )
    model = PeftModel.from_pretrained(base.float(), checkpoint).eval()
    found = []
    for some in _batches(pairs):
        texts = [
            tokenizer.apply_chat_template(
                [
                    {"role": "user", "content": pair["prompt"]},
                    {"role": "assistant", "content": pair[side]},
                ],
                tokenize=False,
            )
            for pair in some
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            found.append(model(**inputs).logits[:, 0])
    return torch.cat(found)


def _batches(pairs: list[Pair]) -> Iterator[list[Pair]]:
    return (pairs[i : i + 50] for i in range(0, len(pairs), 50))


def swapped(path: Path, seed: int) -> Path:
    """Write the training pairs, the answers of about half of them swapped."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for pair in samples("preferences", "train", seed):
            if draw.random() < 0.5:
                pair = pair | {"chosen": pair["rejected"], "rejected": pair["chosen"]}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    return path


def tuned(method: str, seed: int, folder: Path, **more: Any) -> tuple[Path, float]:
    """Train and return (checkpoint, CPU seconds, imports apart)."""
    before = time.process_time()
    options = {**WAYS[method], **more, "output_dir": str(folder)}
    with redirect_stderr(StringIO()):
        made = train("nano", verb=method, **{"train.seed": seed}, **options)
    return made.checkpoint, time.process_time() - before


def line(method: str, seed: int, pairs: list[Pair], base: Tensor, *, control: bool) -> str:
    """Return a line of the table."""
    with tempfile.TemporaryDirectory() as work:
        wrong = {"dataset": str(swapped(Path(work) / "swapped.jsonl", seed))} if control else {}
        checkpoint, cpu = tuned(method, seed, Path(work) / "run", **wrong)
        found = judged(method, checkpoint, pairs, base)
    named = f"{method}, swapped" if control else method
    return f"| {named} | {seed} | {found} | {cpu:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--controls", type=int, default=1, help="seeds of the control")
    parser.add_argument("--methods", default=",".join(WAYS))
    parser.add_argument("--held-out-seed", type=int, default=HELD_OUT_SEED)
    asked = parser.parse_args()
    pairs = list(samples("preferences", "validation", asked.held_out_seed))
    base = differences(find_model("nano", cache_home()), pairs)
    print(f"base: {_share(base > 0):.1%} likelier\n")
    print("| method | seed | right | margin | likelier | CPU s |\n|" + "---|" * 6, flush=True)
    begin = asked.first
    kinds = [(seed, False) for seed in range(begin, begin + asked.seeds)]
    kinds += [(seed, True) for seed in range(begin, begin + asked.controls)]
    for seed, control in kinds:
        for method in asked.methods.split(","):
            print(line(method, seed, pairs, base, control=control), flush=True)


if __name__ == "__main__":
    main()
