"""Questions that nothing could be learnt from, or that are said otherwise than as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swift import train_grpo
from swift.core.errors import DataError
from swift.core.events import read_events
from swift.run.rollout.drawn import kept


def trained(folder: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Path:
    """Train one step of grpo on nano, and return the run's folder."""
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    sizes: dict[str, Any] = {"group": 2, "max_tokens": 2, "batch_size": 4, "max_steps": 1}
    train_grpo("nano", str(path), output_dir=str(folder / "run"), **{**sizes, **options})
    return folder / "run"


def test_accuracy_without_any_solution_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has a solution, and `accuracy` compares"):
        trained(tmp_path, [{"prompt": "What is 1+1?"}, {"prompt": "What is 2+2?"}])


def test_a_solution_may_be_a_number(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}+1?", "solution": n + 1} for n in range(4)]
    run = trained(tmp_path, rows)
    assert all(one.rewards["accuracy"] is not None for one in kept(run, 0))


def test_questions_that_are_all_too_long_are_not_to_be_truncated(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        trained(tmp_path, [{"prompt": "word " * 5000, "solution": "1"}])
    assert "a smaller method.max_tokens" in str(error.value)
    assert "truncate" not in str(error.value)


def test_what_is_said_of_few_questions_counts_questions(tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}+1?", "solution": "2"} for n in range(3)]
    many, few = tmp_path / "many", tmp_path / "few"
    for place in (many, few):
        place.mkdir()
    notes = [
        [e["text"] for e in read_events(run / "events.jsonl") if e["event"] == "note"]
        for run in (trained(many, rows, batch_size=8), trained(few, rows, batch_size=4))
    ]
    assert any("a rollout asks 4 questions, and there are 3" in note for note in notes[0])
    assert not any("there are 3" in note for note in notes[1])
