"""All rewards on all answers at once: their values apart, their weighted sum, and their metrics.

R = rewards, N = answers
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from time import monotonic

from swift.core.errors import MachineError, Problem, SwiftError, TrainingError, UserError
from swift.reward import Answer, Reward

LARGEST = 1e15
"""Of a reward's values, either way: whole numbers up to it are exact, and so are their means."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the rewards say of N answers."""

    names: tuple[str, ...]
    """Of the R rewards, each once: a second `accuracy` is `accuracy_2`."""

    values: tuple[tuple[float | None, ...], ...]
    """[R][N], without weights; None where a reward does not apply."""

    total: tuple[float, ...]
    """[N]: the sum of weight * value over the rewards that apply; 0 where none does."""

    applies: tuple[bool, ...]
    """[N]: whether any reward does."""

    metrics: Mapping[str, float]
    """rewards/<name>/mean and rewards/<name>/std (of a whole population), over the answers that a
    reward applies to, without its weight; and rewards/unjudged, the share that none applies to."""


def judged(rewards: Sequence[Reward], answers: Sequence[Answer], *, limit: float = 600.0) -> Judged:
    """Ask all rewards at once, each in a thread of its own.

    Args:
        rewards: R of them.
        answers: N of them.
        limit: Seconds after which those that have not answered are given up.

    Raises:
        UserError: One raised, or did not give a number for each answer.
        TrainingError: One gave NaN, or what is beyond `LARGEST`.
        MachineError: Some did not answer in time; all are named. (Or what else a reward raises.)
    """
    names = _names(rewards)
    asked = [_Asked(r, name, answers) for r, name in zip(rewards, names, strict=True) if answers]
    end = monotonic() + limit
    late = [one for one in asked if not one.ended.wait(max(0.0, end - monotonic()))]
    for one in late:
        one.cancel()
    errors = [one.error for one in asked if one.error is not None and one not in late]
    if late:
        said = ", ".join(f"`{one.name}`" for one in late)
        what = f"of {len(names)} rewards, {said} gave no answer in {limit:g} s"
        fix = "give it fewer answers at once, or a time limit of its own"
        errors.insert(0, MachineError(Problem(where="reward", what=what, fix=fix)))
    if errors:
        raise _one_of(errors)
    return _summed(names, [r.weight for r in rewards], [one.values for one in asked], len(answers))


def _names(rewards: Sequence[Reward]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    names = []
    for reward in rewards:
        seen[reward.label] += 1
        count = seen[reward.label]
        names.append(reward.label if count == 1 else f"{reward.label}_{count}")
    return tuple(names)


def _one_of(errors: Sequence[BaseException]) -> BaseException:
    """Return the first error that is no user's, with the problems of all; a bug of ours as it is.

    Only errors of one kind can be said together: who is to act decides the exit code.
    """
    for error in errors:
        if not isinstance(error, SwiftError):
            return error  # a bug of ours: its traceback says where
    same = [e for e in errors if type(e) is type(errors[0]) and isinstance(e, SwiftError)]
    return type(same[0])([problem for error in same for problem in error.problems])


def _summed(
    names: tuple[str, ...],
    weights: Sequence[float],
    values: Sequence[Sequence[float | None]],
    count: int,
) -> Judged:
    total, applies = [0.0] * count, [False] * count
    metrics: dict[str, float] = {}
    for name, weight, row in zip(names, weights, values or [()] * len(names), strict=True):
        for i, value in enumerate(row):
            if value is not None:
                total[i] += weight * value
                applies[i] = True
        given = [value for value in row if value is not None]
        if given:
            metrics[f"rewards/{name}/mean"] = fmean(given)
            metrics[f"rewards/{name}/std"] = pstdev(given)
    if count:
        metrics["rewards/unjudged"] = applies.count(False) / count
    return Judged(
        names=names,
        values=tuple(tuple(row) for row in values) or ((),) * len(names),
        total=tuple(total),
        applies=tuple(applies),
        metrics=metrics,
    )


class _Asked:
    """One reward at work. Its thread is a daemon: one that hangs does not hold up the end."""

    def __init__(self, reward: Reward, name: str, answers: Sequence[Answer]) -> None:
        self.name = name
        self.values: Sequence[float | None] = ()
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._reward, self._answers = reward, tuple(answers)  # which no reward can change
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Sequence[float | None]] | None = None
        threading.Thread(target=self._run, name=f"reward {name}", daemon=True).start()

    def cancel(self) -> None:
        """Let it end at its next wait; what it started ends with it."""
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self) -> None:
        try:
            self.values = asyncio.run(self._judge())
        except BaseException as error:  # SystemExit of a user's function, too: raised by `judged`
            self.error = error
        finally:
            self.ended.set()

    async def _judge(self) -> Sequence[float | None]:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        return _checked(self.name, await self._reward.judge(self._answers), self._answers)


def _checked(name: str, said: object, answers: Sequence[Answer]) -> list[float | None]:
    """Return a number or None for each answer."""
    if isinstance(said, str | bytes | Mapping) or not hasattr(said, "__iter__"):
        what = f"the reward `{name}` gave {_short(repr(said))}, no list of numbers"
        raise UserError(Problem(where="reward", what=what, fix="return a number for each answer"))
    items = list(said)
    if len(items) != len(answers):
        what = f"the reward `{name}` gave {len(items)} values for {len(answers)} answers"
        raise UserError(
            Problem(where="reward", what=what, fix="return one for each, None where none applies")
        )
    return [_number(name, item, answer) for item, answer in zip(items, answers, strict=True)]


def _number(name: str, item: object, answer: Answer) -> float | None:
    if item is None:
        return None
    about = f"for the answer {_short(answer.text)!r} to {_short(_asked(answer))!r}"
    try:
        if isinstance(item, str | bytes):
            raise TypeError
        value = float(item)  # type: ignore[arg-type]  # numbers of numpy and torch, too
    except (TypeError, ValueError, OverflowError, RuntimeError):
        what = f"the reward `{name}` gave {_short(repr(item))}, no number, {about}"
        raise UserError(Problem(where="reward", what=what, fix="return a number")) from None
    if not abs(value) <= LARGEST:
        what = f"the reward `{name}` gave {value} {about}"
        fix = "mend the reward, or let it return None where it does not apply"
        raise TrainingError(Problem(where="reward", what=what, fix=fix))
    return value


def _asked(answer: Answer) -> str:
    """Return the last words before the answer."""
    return answer.prompt[-1].content if answer.prompt else ""


def _short(text: str) -> str:
    line = " ".join(text[:400].split())
    return line if len(line) <= 80 else f"{line[:79]}…"
