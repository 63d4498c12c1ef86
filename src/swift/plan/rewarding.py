"""What judges drawn answers: decided, looked at, and to the byte the code of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from swift.checkpoint import served
from swift.core.errors import PlanError, Problem, SwiftError
from swift.core.plugins import Used, attribute, used
from swift.model.facts import read_facts
from swift.model.score import holds_head
from swift.recipe import Recipe
from swift.reward import Reward
from swift.reward.accuracy import Accuracy
from swift.reward.model import RewardModel


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The rewards of a run."""

    rewards: tuple[Reward, ...] = ()
    """As a worker gets them, whatever directory it works in."""

    code: tuple[Used, ...] = ()
    """The code of the user's own that they run, each once; that of `method.turns` too."""

    notes: tuple[str, ...] = ()
    """What is to be said aloud of them."""


def judges(recipe: Recipe, problems: list[Problem]) -> Judges:
    """Return what judges the answers of `recipe`: `accuracy`, where it names nothing.

    Args:
        recipe: What the user said.
        problems: Is added to: what keeps each reward from judging here.
    """
    if recipe.method.wants != "prompts":
        return Judges()
    notes = []
    replying = _replying(recipe, problems)
    if not recipe.reward:
        notes.append("answers are judged by the reward `accuracy`, since the recipe names none")
    settled: list[Reward] = []
    code: dict[Used, None] = dict.fromkeys(replying)
    for reward in recipe.reward or (Accuracy(),):
        wrong = list(reward.problems())
        if not wrong and isinstance(reward, RewardModel):
            wrong, reward = _pinned(reward)
        problems += wrong
        if not wrong:
            code |= dict.fromkeys(reward.code())
            settled.append(reward.settled())
            notes += reward.notes()
    return Judges(rewards=tuple(settled), code=tuple(code), notes=tuple(dict.fromkeys(notes)))


def _replying(recipe: Recipe, problems: list[Problem]) -> tuple[Used, ...]:
    """Return the code that replies to answers; what is wrong with it is added to `problems`."""
    said = getattr(recipe.method, "turns", None)
    if said is None:
        return ()
    try:
        if callable(attribute(said)):
            return used([said.rpartition(":")[0]])
    except SwiftError as error:
        problems += [replace(problem, where="method.turns") for problem in error.problems]
        return ()
    what = f"`{said}` is no function"
    problems.append(Problem(where="method.turns", what=what, fix="name one: FILE.py:FUNCTION"))
    return ()


def remembered(said: str, code: Sequence[Used]) -> str:
    """Return FILE.py:FUNCTION as a run finds it, from whatever directory it goes on.

    Raises:
        PlanError: The plan does not remember that code: nobody has named it.
    """
    file, _, name = said.rpartition(":")
    known = next((one for one in code if one.place and file in (one.said, one.place)), None)
    if known is None:
        what = f"the plan does not remember the code of `{said}`"
        raise PlanError(Problem(where="method.turns", what=what, fix="start a new run"))
    return f"{known.place}:{name}" if "/" in file or file.endswith(".py") else said


def _pinned(reward: RewardModel) -> tuple[list[Problem], RewardModel]:
    """Return what is wrong with a reward model, and it with the folder that its name means now."""
    try:
        found = served(reward.id)
        scores = found.scores and (found.adapter is not None or holds_head(found.folder))
        facts = read_facts(reward.id, found.folder)
    except SwiftError as error:
        return [replace(problem, where="reward") for problem in error.problems], reward
    if not scores:
        what = f"{reward.id} is no reward model: a {facts.architecture} has no head of one number"
        fix = "give what `swift rm` made: its run, a checkpoint, or the merged folder"
        return [Problem(where="reward", what=what, fix=fix)], reward
    place = found.adapter or found.folder
    return [], reward.model_copy(update={"id": str(place.resolve())})


def unnamed(rewards: Sequence[Reward], code: Sequence[Used]) -> list[Problem]:
    """Return a problem for each reward that would run code which the plan does not remember.

    A plan may come from anywhere: code is run if a user named it. A live function of Python is
    remembered without a place, since another process cannot find it.
    """
    known = {name for used in code if used.place for name in (used.said, used.place)}
    return [
        Problem(
            where="reward",
            what=f"the reward `{reward.label}` was a function of the Python process that began it",
            fix=f"go on from Python: train(..., reward={reward.label})",
        )
        for reward in rewards
        if (file := reward.file()) and file not in known
    ]
