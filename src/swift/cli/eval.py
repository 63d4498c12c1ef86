"""`swift eval`: how often a model is right on a data set."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from swift.cli.opened import Asked, page, read
from swift.cli.progress import Progress
from swift.cli.words import table
from swift.core.errors import Problem, UserError

if TYPE_CHECKING:
    from swift.run.evaluate import Result
    from swift.score import Score

_OWN = ("dataset", "split", "score", "normal", "output", "overwrite")
_NANO = "nano-orders#200"

_HEAD = """usage: swift eval MODEL --dataset FILE|NAME#n [--output FOLDER] [--key value ...]

Answer each row and compare with the row's own answer. Says the share of right answers with its
95 % interval (Wilson), tokens, and tokens per CPU second. Stopped or killed, and started again with
the same words, it goes on where it was.

  --dataset NAME       rows of a file or of a data set; by default what the run was validated on, or
                       the held-out part of what it learned; for `nano` nano-orders#200
  --split NAME         part of a generated data set = validation
  --score NAME         how right an answer is = exact_match (a plug-in may bring others)
  --normal text|json   for exact_match, what is the same: letters, but for white space around, or
                       JSON values, with keys in any order and exact types (3 is neither 3.0 nor
                       true) = text
  --output FOLDER      where eval.json and eval.jsonl (a line for each row) go; by default eval-NAME
                       in the run's folder, or here
  --overwrite          begin anew, whatever is there
"""


def main(verb: str, words: list[str]) -> int:
    """Evaluate, print a table, and return the exit code: 0, or 130 where a signal stopped it.

    Raises:
        SwiftError: The words, the data, the model or the output stand in the way.
    """
    asked = read(verb, words, _OWN, ("overwrite",))
    if asked is None:
        print(page(_HEAD))
        return 0
    score = _score(asked.own["score"], asked.own["normal"])
    rows = asked.own["dataset"] or _default(asked)
    run = import_module("swift.run.evaluate")
    said = asked.own["output"]
    folder = Path(said).expanduser() if said else run.folder_for(asked.model, rows)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    split = asked.own["split"] or _split(rows)
    work = asked.inference(rows, folder / "eval.jsonl", split=split)
    result = run.evaluate_rows(work, score, asked.open, Progress())
    print(_shown(result, score.name))
    return 0


def _score(name: str | None, normal: str | None) -> Score:
    """Return the score that is asked for."""
    scores = import_module("swift.score").scores
    if name not in (None, "exact_match"):
        if normal is not None:
            what = f"`{name}` does not compare as exact_match does"
            raise UserError(Problem(where="--normal", what=what, fix="leave it out"))
        found: Score = scores.get(name)()
        return found
    if normal not in (None, "text", "json"):
        what = f"`{normal}` is no way to compare"
        raise UserError(Problem(where="--normal", what=what, fix="text or json"))
    exact: Score = scores.get("exact_match")(normal=normal or "text")
    return exact


def _default(asked: Asked) -> str:
    """Return the rows where nobody names any: a run's own, or those of a model of ours."""
    if own := _of_run(asked):
        print(f"no dataset given, so `{own}` is used", file=sys.stderr)
        return own
    find = import_module("swift.model.find")
    env = import_module("swift.core.env")
    own = find.find_model(find.EMBEDDED, env.cache_home())
    if asked.served.folder.resolve() != own.resolve():
        what = "no --dataset says what to ask"
        raise UserError(Problem(what=what, fix="--dataset rows.jsonl, or a name"))
    print(f"no dataset given, so `{_NANO}` is used", file=sys.stderr)
    return _NANO


def _of_run(asked: Asked) -> str:
    """Return what a run was validated on, or the held-out part of what it learned; "" for none."""
    place = asked.served.adapter or asked.served.folder
    if not (place / "swift.json").is_file():
        return ""
    recipe = import_module("swift.checkpoint").read_card(place).recipe
    held = recipe["data"]["validation"]
    if isinstance(held, str):
        return held
    names = [str(d["name"]).partition("#")[0] for d in recipe["dataset"]]
    find = import_module("swift.dataset.sources").find
    if len(names) == 1 and find(names[0]).generator:
        return names[0]
    what = f"the run learned from {', '.join(names)}, which would prove nothing"
    raise UserError(Problem(where="--dataset", what=what, fix="--dataset other-rows.jsonl"))


def _split(rows: str) -> str:
    """Return the part that is evaluated where nobody says: files have none."""
    source = import_module("swift.dataset.sources").find(rows)
    return "validation" if source.generator else ""


def _shown(result: Result, score: str) -> str:
    found, done = result.tally, result.done
    low, high = found.interval
    rows = [
        ("rows", f"{found.rows}"),
        (score.replace("_", " "), f"{found.share:.1%}"),
        ("95 % interval", f"{low:.1%} to {high:.1%}"),
        ("tokens", f"{found.tokens}"),
    ]
    if found.cut:
        rows.append(("answers cut before their end", f"{found.cut}"))
    if found.unanswered:
        rows.insert(1, ("rows without an answer to compare with", f"{found.unanswered}"))
    if found.failed:
        rows.insert(1, ("rows that could not be asked", f"{found.failed}"))
    if done.cpu_s and done.tokens:
        rows += [
            ("CPU s", f"{done.cpu_s:.1f}"),
            ("tokens per CPU s", f"{result.tokens_per_cpu_s:.0f}"),
        ]
    rows.append(("written to", str(result.folder)))
    return table(rows)
