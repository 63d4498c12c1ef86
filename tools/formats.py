"""Write the tables of docs/formats.md: every format, every spelling of it, every task and box.

python -m tools.formats           write them into docs/formats.md
python -m tools.formats --check   say whether they are what the spellings give
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swift.chat.message import Message, Thing
from swift.dataset.boxes import Picture, Size, box_styles, written
from swift.dataset.formats import formats
from swift.dataset.tasks import tasks

ROOT = Path(__file__).parents[1]
DOC, TABLE = ROOT / "docs" / "formats.md", ROOT / "tests" / "dataset" / "spellings.jsonl"
BEGIN, END = "<!-- made by `python -m tools.formats` -->", "<!-- end -->"


def known() -> list[str]:
    """Return a row for each format, in the order in which they are tried."""
    lines = ["| format | columns | for | a row is |", "|---|---|---|---|"]
    for found in formats:
        wants = " and ".join(_one_of(want) for want in found.wants)
        says = (found.read.__doc__ or "").split("\n")[0]
        lines.append(f"| {found.name} | {wants} | {', '.join(found.serves) or 'all'} | {says} |")
    return lines


def spellings() -> list[str]:
    """Return an example row of each spelling, under its format; then what is no sample."""
    entries = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    lines: list[str] = []
    for found in formats:
        lines += ["", f"### {found.name}", ""]
        lines += [_example(e) for e in entries if e.get("format") == found.name]
    lines += ["", "### Rows that give no sample", ""]
    lines += [f"{_example(e)} → `{e['reject']}`" for e in entries if "reject" in e]
    return lines


def shapes() -> list[str]:
    """Return a row for each task, then for each spelling of boxes."""
    lines = ["| task | what a sample is | media | columns of the answer |", "|---|---|---|---|"]
    for task in tasks:
        answers = ", ".join(f"`{name}`" for name in task.answers) or "any format"
        lines.append(f"| {task.name} | {task.says} | {', '.join(task.media)} | {answers} |")
    turns = [Message(role="assistant", content="<ref-object><bbox>")]
    things = [Thing(name="a dog", box=(80, 40, 160, 200))]
    seen = Picture(Size(800, 400), Size(400, 200))
    lines += [
        "",
        "| boxes | of sides | a dog at 80, 40, 160, 200 of 800 × 400, seen halved |",
    ]
    lines.append("|---|---|---|")
    for style in box_styles:
        (turn,) = written(turns, things, style, [seen])
        lines.append(f"| {style.name} | {style.scale} | {_code(turn.content)} |")
    return lines


def made(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n".join([*known(), *spellings(), "", "## Tasks and boxes", "", *shapes()])
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _one_of(want: str) -> str:
    return " or ".join(f"`{name}`" for name in want.split("|"))


def _example(entry: dict[str, object]) -> str:
    wants = f", for {entry['wants']}" if "wants" in entry else ""
    row = json.dumps(entry["row"], ensure_ascii=False)
    return f"* {entry['name']}{wants}: ``{row}``"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def main(words: list[str]) -> int:
    """Write the page, or check it."""
    text = DOC.read_text(encoding="utf-8")
    if "--check" in words:
        return int(made(text) != text)
    DOC.write_text(made(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
