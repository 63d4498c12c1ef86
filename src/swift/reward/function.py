"""A function of the user's own as a reward: `reward: ./mine.py:brevity`."""

from __future__ import annotations

import hashlib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

from pydantic import Field, PrivateAttr, field_validator

from swift.core.errors import Problem, SwiftError, UserError
from swift.core.plugins import Used, attribute, used
from swift.reward import Answer, Reward, rewards

Judge: TypeAlias = Callable[..., Any]
"""f(answers), or f(prompts, completions, **columns): a list of numbers, or an awaitable of one."""

_ALWAYS = ("prompts", "completions", "completion_ids", "solution")


@rewards.add("function")
class Function(Reward):
    """What a function says, which is one of two kinds, sync or async.

    f(answers): a sequence of `swift.reward.Answer`. f(prompts, completions, **columns), as TRL has
    it: conversations of {role, content}, `completion_ids`, `solution`, and each column of the data
    by its name, a list with one item for each answer; it gets those that it names, or all.
    Returns a list: a number for each answer, or None where it does not apply.
    """

    path: str = Field(min_length=1)
    """./mine.py:brevity, or module:function. Its code is run."""

    _live: Judge | None = PrivateAttr(default=None)

    @field_validator("path")
    @classmethod
    def _of_two(cls, path: str) -> str:
        place, _, name = path.rpartition(":")
        if not place or not name.isidentifier():
            raise ValueError("write FILE.py:FUNCTION")
        return path

    @classmethod
    def of(cls, function: Judge, *, weight: float = 1.0) -> Self:
        """Return the reward of a function that is there already."""
        module = getattr(function, "__module__", None) or "python"
        named = getattr(function, "__name__", type(function).__name__)
        made = cls(path=f"{module}:{named if named.isidentifier() else 'function'}", weight=weight)
        made._live = function
        return made

    @property
    def is_live(self) -> bool:
        """Whether it is a function that is there already, and not to be loaded."""
        return self._live is not None

    @property
    def label(self) -> str:
        """The function's name."""
        return self.path.rpartition(":")[2]

    def problems(self) -> Sequence[Problem]:
        """Return what is wrong with its file, or with what it wants."""
        try:
            _wants(self._function(), self.label)
        except SwiftError as error:
            return error.problems
        return ()

    def file(self) -> str:
        """Return the file or module before the colon."""
        return self.path.rpartition(":")[0]

    def code(self) -> Sequence[Used]:
        """Return the file's digest, or that of a live function's own text, which has no place."""
        if self._live is not None:
            return (Used(said=self.path, digest=_text_digest(self._live)),)
        return used([self.file()])

    def settled(self) -> Function:
        """Return it with the whole path of its file; a module is found by its name anywhere."""
        file = self.file()
        if self._live is not None or not ("/" in file or file.endswith(".py")):
            return self
        whole = Path(file).expanduser().resolve()
        return self.model_copy(update={"path": f"{whole}:{self.label}"})

    async def judge(self, answers: Sequence[Answer]) -> Sequence[float | None]:
        """Return what the function returns.

        Raises:
            UserError: It is not there, wants what there is none of, or raised; names its line.
        """
        function = self._function()
        wants = _wants(function, self.label)
        try:
            if wants is None:
                found = function(answers)
            else:
                found = function(**_columns(answers, wants, self.label))
            if inspect.isawaitable(found):
                found = await found
        except SwiftError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(_raised(self.label, function, error)) from error
        return found  # type: ignore[no-any-return]  # `judged` looks at it

    def _function(self) -> Judge:
        if self._live is not None:
            return self._live
        found = attribute(self.path)
        if not callable(found):
            what = f"`{self.path}` is {type(found).__name__}, no function"
            raise UserError(Problem(where="reward", what=what, fix="name a function of that file"))
        return found


def _text_digest(function: Judge) -> str:
    """Return the sha256 of what a function or a callable object was written as; else of its code.

    The values that it closes over are not looked at.
    """
    inner = inspect.unwrap(getattr(function, "func", function))
    named = inner if inspect.isroutine(inner) else type(inner)
    try:
        text = inspect.getsource(named).encode()
    except (OSError, TypeError):  # typed at a prompt
        text = getattr(getattr(inner, "__code__", None), "co_code", named.__qualname__.encode())
    return hashlib.sha256(text).hexdigest()


def _wants(function: Judge, label: str) -> Mapping[str, bool] | None:
    """Return the columns it names -> whether it must get them, "**" for all; None for f(answers).

    Raises:
        UserError: It is of neither kind.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:  # of some that are written in C
        fix = "write f(answers), or f(prompts, completions, **columns)"
        raise UserError(Problem(where="reward", what=f"`{label}`: {error}", fix=fix)) from error
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if {"prompts", "completions"} & {p.name for p in named}:
        wants = {p.name: p.default is p.empty for p in named}
        return wants | {"**": False} if any(p.kind is p.VAR_KEYWORD for p in parameters) else wants
    needed = [p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    rest = [p for p in named if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) == 1 and not rest:
        return None
    what = f"the reward `{label}` takes {inspect.signature(function)}"
    fix = "write f(answers), or f(prompts, completions, **columns)"
    raise UserError(Problem(where="reward", what=what, fix=fix))


def _columns(
    answers: Sequence[Answer], wants: Mapping[str, bool], label: str
) -> dict[str, list[Any]]:
    """Return the keyword arguments of TRL's kind of function."""
    known: dict[str, list[Any]] = {}
    if "**" in wants or wants.keys() - {*_ALWAYS}:
        names = dict.fromkeys(name for answer in answers for name in answer.columns)
        known = {name: [answer.columns.get(name) for answer in answers] for name in names}
    known["prompts"] = [[turn.as_dict() for turn in answer.prompt] for answer in answers]
    known["completions"] = [[{"role": "assistant", "content": a.text}] for a in answers]
    known["completion_ids"] = [list(answer.ids) for answer in answers]
    known["solution"] = [answer.solution for answer in answers]
    lacking = [name for name, must in wants.items() if must and name not in known]
    if lacking:
        said = ", ".join(f"`{name}`" for name in lacking)
        what = f"the reward `{label}` wants {said}, which the rows have no column of"
        fix = "columns there are: " + ", ".join(f"`{name}`" for name in sorted(known))
        raise UserError(Problem(where="reward", what=what, fix=fix))
    return known if "**" in wants else {n: column for n, column in known.items() if n in wants}


def _raised(label: str, function: Judge, error: BaseException) -> Problem:
    """Return what to say of a function that raised: the last line of its own file."""
    file = inspect.unwrap(function).__code__.co_filename if hasattr(function, "__code__") else ""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{f.filename}:{f.lineno}" for f in frames if f.filename == file]
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    where = lines[-1] if lines else f"{frames[-1].filename}:{frames[-1].lineno}"
    return Problem(where=where, what=f"the reward `{label}` raised {said}", fix="mend it there")
