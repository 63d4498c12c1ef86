"""Do methods learn what they promise? On pairs, and questions, that were never trained on.

Bounds are wide: what is usual stands in docs/figures.md (`make learn`).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from swift import train
from swift.core.events import read_events
from swift.dataset.generated import samples

pytestmark = pytest.mark.slow


def held_out(method: str, folder: Path, **options: Any) -> dict[str, float]:
    """Train nano and return what the run says of the rows that it held out, at its end."""
    made = train(
        "nano",
        verb=method,
        eval_dataset=options.pop("eval_dataset", "nano-preferences"),
        output_dir=str(folder / "run"),
        **options,
    )
    told = [e for e in read_events(made.run / "events.jsonl") if e["event"] == "eval"]
    return {name: v for name, v in told[-1].items() if isinstance(v, float | int)}


def swapped(path: Path) -> Path:
    """Write the training pairs, the answers of about half of them swapped."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for pair in samples("preferences", "train", 1):
            if draw.random() < 0.5:
                pair = pair | {"chosen": pair["rejected"], "rejected": pair["chosen"]}
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")
    return path


def test_dpo_prefers_right_answers_to_orders_it_never_saw(tmp_path: Path) -> None:
    found = held_out("dpo", tmp_path, max_steps=20, learning_rate=1e-3)
    assert found["rewards/accuracies"] > 0.75
    assert found["rewards/margins"] > 0.5
    assert found["loss"] < 0.6


def test_a_reward_model_gives_right_answers_more(tmp_path: Path) -> None:
    found = held_out("rm", tmp_path, max_steps=40, learning_rate=2e-3)
    assert found["accuracy"] > 0.75
    assert found["margin"] > 0.5


def test_pairs_swapped_at_random_teach_a_reward_model_nothing(tmp_path: Path) -> None:
    data = str(swapped(tmp_path / "swapped.jsonl"))
    found = held_out("rm", tmp_path, dataset=data, max_steps=40, learning_rate=2e-3)
    assert 0.3 < found["accuracy"] < 0.7
    assert abs(found["margin"]) < 0.5


def test_simpo_prefers_right_answers_without_a_reference(tmp_path: Path) -> None:
    found = held_out("simpo", tmp_path, max_steps=20, learning_rate=1e-3)
    assert found["rewards/accuracies"] > 0.7
    assert found["rewards/margins"] > 0
