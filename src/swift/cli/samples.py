"""`swift runs show RUN --samples 5`: answers that a run drew last, as people read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift.core.errors import Problem, UserError


def samples_of(folder: Path, asked: str) -> str:
    """Return a few of the answers in the newest file of rollouts/: question, answer, rewards.

    Args:
        folder: The run folder.
        asked: How many, as it was typed.

    Raises:
        UserError: That is no number, or the run has drawn none.
    """
    if not asked.isdecimal() or int(asked[:9]) == 0:
        raise UserError(Problem(what=f"`--samples {asked}` is no number", fix="--samples 5"))
    files = sorted((folder / "rollouts").glob("*.jsonl"))
    if not files:
        what = f"{folder} has drawn no answers: only online methods do (`swift grpo`)"
        fix = "`swift runs` lists the runs and their methods"
        raise UserError(Problem(where="--samples", what=what, fix=fix))
    lines = files[-1].read_text(encoding="utf-8").splitlines()
    step = max(1, len(lines) // int(asked))  # from all groups, not the first alone
    chosen = [json.loads(line) for line in lines[::step][: int(asked)]]
    head = f"{files[-1]}: {len(chosen)} of {len(lines)} answers"
    return "\n\n".join([head, *map(_sample, chosen)])


def _sample(one: dict[str, Any]) -> str:
    rewards = "  ".join(f"{name} {value}" for name, value in one.get("rewards", {}).items())
    rows = {
        "question": f"{one.get('question', '')}  ({one.get('origin', '')})",
        **{turn["role"]: turn["content"] for turn in one.get("said", ())},
        "answer": one.get("text", "") + (" …" if one.get("finish") == "length" else ""),
        "reward": f"{one.get('reward')}  ({rewards})",
    }
    return "\n".join(f"{name:>11}  {text}" for name, text in rows.items())
