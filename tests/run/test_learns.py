"""Do methods learn what they promise? On pairs, and questions, that were never trained on.

Bounds are wide: what is usual stands in docs/figures.md (`make learn`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swift import train
from swift.core.events import read_events
from swift.dataset.generated import samples
from swift.reward import Answer

pytestmark = pytest.mark.slow

DRAWN: dict[str, Any] = {
    "recipe": Path(__file__).parents[2] / "recipes" / "grpo.yaml",
    "eval_dataset": "nano-numbers",
}
"""Six numbers, the largest wanted; a third as long as the recipe has it."""


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


def dealt(answers: Sequence[Answer]) -> list[float]:
    """Return what accuracy gives the answers, dealt out among them at random.

    Held-out answers get their mean all the same.
    """
    values = [float(answer.text.strip() == answer.solution) for answer in answers]
    random.Random(answers[0].version).shuffle(values)
    return values


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


def test_grpo_finds_the_largest_number_by_rewards_alone(tmp_path: Path) -> None:
    found = held_out("grpo", tmp_path, **DRAWN, max_steps=25, reward="accuracy")
    told = [e for e in read_events(tmp_path / "run" / "events.jsonl") if e["event"] == "step"]
    assert 0.02 < told[0]["reward"] < 0.2
    assert found["reward"] > 0.5


def test_rewards_dealt_out_at_random_teach_grpo_nothing(tmp_path: Path) -> None:
    found = held_out("grpo", tmp_path, **DRAWN, max_steps=25, reward=dealt)
    assert found["reward"] < 0.3
