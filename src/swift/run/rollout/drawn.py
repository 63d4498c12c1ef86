"""Answers that were drawn: what is known of each, and the file that keeps them.

A run folder has `rollouts/000012.jsonl`: one answer a line, with its tokens, their log p as the
engine had it, what each reward said, and how many steps the policy had taken that drew it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swift.chat.message import Message
from swift.core.errors import MachineError, PlanError, Problem
from swift.core.files import write_text
from swift.dataset.encoded import Encoded
from swift.reward import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swift.chat.message import Sample
    from swift.reward.together import Judged

FOLDER = "rollouts"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A question and what was said to it, all turns together."""

    group: int
    """Number of the question in its rollout: answers to one question share it."""

    origin: str
    """Where the question came from: "mine.jsonl:17"."""

    prompt: Sequence[int]
    """Its tokens."""

    question: str = ""
    """Its last message, for people."""

    ids: Sequence[int]
    """All tokens after the prompt: what the model said, and replies to it."""

    own: Sequence[bool]
    """Which of them the model said."""

    logprobs: Sequence[float]
    """Of those that it said, in nats, as the engine had them: before temperature and filters."""

    text: str
    """The last thing it said."""

    said: Sequence[Mapping[str, Any]] = ()
    """Messages between the prompt and the last answer, where there were several turns."""

    finish: str = "stop"
    version: int = 0
    """Optimiser steps that the policy had taken."""

    rewards: Mapping[str, float | None] = field(default_factory=dict)
    """What each reward said, without its weight."""

    reward: float | None = None
    """Their weighted sum; None where none applied."""

    def answer(self, sample: Sample) -> Answer:
        """Return it as rewards see it."""
        return Answer(
            prompt=[*sample.chosen, *map(_message, self.said)],
            text=self.text,
            ids=self.ids,
            finish=self.finish,
            solution=sample.solution,
            columns=sample.columns,
            version=self.version,
        )


def _message(said: Mapping[str, Any]) -> Message:
    more = {key: value for key, value in said.items() if key not in ("role", "content")}
    return Message(role=said["role"], content=said["content"], more=more)


def valued(drawn: Sequence[Drawn], judged: Judged) -> list[Drawn]:
    """Return answers with what the rewards say of them."""
    return [
        replace(
            one,
            rewards={n: v[i] for n, v in zip(judged.names, judged.values, strict=True)},
            reward=judged.total[i] if judged.applies[i] else None,
        )
        for i, one in enumerate(drawn)
    ]


def rows_of(drawn: Sequence[Drawn], *, mask_truncated: bool, sides: int = 1) -> Encoded:
    """Return answers as rows to train on: what the model said carries the loss.

    Args:
        drawn: Answers, those to one question one after the other.
        mask_truncated: Whether answers that were cut carry none.
        sides: How many neighbours are one item, which may share their prompt's compute.
    """
    sequences = [
        (
            [*one.prompt, *one.ids],
            [False] * len(one.prompt)
            + [own and not (mask_truncated and one.finish == "length") for own in one.own],
        )
        for one in drawn
    ]
    rewards = [float("nan") if one.reward is None else one.reward for one in drawn]
    groups = [float(one.group) for one in drawn]
    columns = {"reward": rewards, "group": groups}
    return Encoded(
        ids=np.concatenate([np.array(ids, dtype=np.int32) for ids, _ in sequences]),
        supervised=np.concatenate([np.array(own, dtype=np.bool_) for _, own in sequences]),
        offsets=np.cumsum([0, *(len(ids) for ids, _ in sequences)]).astype(np.int64),
        sides=sides,
        origins=[one.origin for one in drawn[::sides]],
        columns={name: np.array(of).reshape(-1, sides) for name, of in columns.items()},
    )


def path_of(run: Path, rollout: int) -> Path:
    """Return the file of a rollout's answers."""
    return run / FOLDER / f"{rollout:06d}.jsonl"


def keep(run: Path, rollout: int, drawn: Iterable[Drawn]) -> None:
    """Write the answers of a rollout, whole or not at all.

    Raises:
        MachineError: They cannot be written.
    """
    path = path_of(run, rollout)
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, "".join(f"{_line(one)}\n" for one in drawn))
    except OSError as error:
        what = f"a rollout's answers cannot be written: {error.strerror or error}"
        fix = "free some space, or let the folder be written to; then start the run again"
        raise MachineError(Problem(where=str(path), what=what, fix=fix)) from error


def _line(one: Drawn) -> str:
    """Return an answer as JSON; a float32 says no more than seven digits."""
    said = {**vars(one), "logprobs": [float(f"{value:.7g}") for value in one.logprobs]}
    return json.dumps(said, ensure_ascii=False, default=list)


def mark(run: Path, rollout: int) -> int:
    """Return what a checkpoint remembers a rollout's file by, of 8 bytes; 0 if there is none."""
    path = path_of(run, rollout)
    if not path.is_file():
        return 0
    return int.from_bytes(hashlib.blake2b(path.read_bytes(), digest_size=8).digest(), "little")


def kept(run: Path, rollout: int, marked: int | None = None) -> list[Drawn]:
    """Return the answers of a rollout.

    Args:
        run: The run folder.
        rollout: Its number.
        marked: Its `mark` when it was written; None where that is not known.

    Raises:
        PlanError: They are not there, or not what was written.
    """
    path = path_of(run, rollout)
    try:
        found = list(_read(path))
        if marked not in (None, mark(run, rollout)):
            raise ValueError("the file was changed since")
        return found
    except (OSError, ValueError, TypeError) as error:
        what = f"this checkpoint stands in the middle of answers that are not there: {error}"
        fix = "resume from a checkpoint before them, or start a new run"
        raise PlanError(Problem(where=str(path), what=what, fix=fix)) from error


def _read(path: Path) -> Iterator[Drawn]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Drawn(**json.loads(line))
