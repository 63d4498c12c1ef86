"""`swift merge`: an adapter becomes a model of its own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from swift.cli.flags import split
from swift.core.env import without_advice_of_bitsandbytes
from swift.core.errors import Problem, UserError

_USAGE = """usage: swift merge RUN [--output FOLDER] [--format safetensors|bin]
       swift merge MODEL --adapter RUN [--output FOLDER]

Add an adapter into its base model. RUN is a run folder (its newest checkpoint), a checkpoint or any
PEFT adapter; the result is a plain model folder.

  --output FOLDER           where to; by default `merged` beside the checkpoint
  --adapter RUN             the adapter, where the first word is the base model
  --format safetensors|bin  kind of file = safetensors
  --trust_remote_code       run the code in the base's folder, where nothing else computes it"""


def main(verb: str, words: list[str]) -> int:
    """Merge and say where the result lies."""
    line = split(words, alone=frozenset({"help"}), many=lambda name: False)
    wants_help, line = line.pick("help")
    if wants_help:
        print(_USAGE)
        return 0
    output, line = line.pick("output", "output_dir", "export_dir")
    adapter, line = line.pick("adapter", "adapters", "adapter_name_or_path")
    kind, line = line.pick("format")
    trust, line = line.pick("trust_remote_code")
    _check(line.files, [name for name, _ in line.flags], kind)
    without_advice_of_bitsandbytes()
    merge = import_module("swift.run.export").merge
    folder = merge(
        line.files[0],
        Path(output) if output else None,
        adapter,
        kind or "safetensors",
        trust=trust in (True, "true"),
    )
    print(f"merged: {folder}")
    return 0


def _check(files: tuple[str, ...], unknown: list[str], kind: str | None) -> None:
    problems = [
        Problem(
            where=f"--{name}", what="`swift merge` has no such option", fix="swift merge --help"
        )
        for name in unknown
    ]
    if len(files) != 1:
        problems.append(
            Problem(what=f"give one run, not {len(files)}", fix="swift merge runs/NAME")
        )
    if kind not in (None, "safetensors", "bin"):
        problems.append(
            Problem(where="--format", what=f"`{kind}` is no format", fix="safetensors or bin")
        )
    if problems:
        raise UserError(problems)
