"""Write the tables of docs/templates.md: every template we try, and every wire.

python -m tools.templates           write them into docs/templates.md
python -m tools.templates --check   say whether they are what the templates give
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from swift.chat.template import Template
from swift.chat.tools import style_of
from swift.chat.verify import NEEDED, OPTIONAL, end_left_out, verify
from swift.chat.wires import wires
from tests.chat.test_verify import FAILING, JINJA, TOKENS, sources, voice

DOC = Path(__file__).parents[1] / "docs" / "templates.md"
BEGIN, END = "<!-- made by `python -m tools.templates` -->", "<!-- end -->"


def public() -> list[str]:
    """Return a row for each public template."""
    lines = [
        "| family | template | source | spans verified | thinking | tools | spells calls | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kept = sources()
    for path in JINJA:
        source = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = voice(Path(folder), source)
        template = Template(source, TOKENS)
        template = replace(template, end=end_left_out(template, tokenizer))
        verdict = verify(template, tokenizer)
        style = style_of(source)
        row = kept.get(path.name)
        note = f"`{template.end}` ends an answer" if template.end else ""
        if path.stem.removesuffix("_training") in FAILING:
            note = "refused: " + next(iter(verdict.wrong.values()))
        cells = [
            row["family"] if row else path.stem.removesuffix("_training").replace("_", " "),
            path.stem,
            f"{row['repository']}, {row['licence']}" if row else "trl",
            ", ".join(name for name in NEEDED if name in verdict.taken) or "no",
            *("yes" if name in verdict.taken else "" for name in OPTIONAL),
            style.name if style else "",
            _cell(note),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def rows() -> list[str]:
    """Return a row for each wire."""
    lines = ["| wire | types of config.json | user | assistant | end |", "|---|---|---|---|---|"]
    for wire in wires:
        cells = [wire.types.replace("|", ", "), *map(_code, (wire.user, wire.assistant, wire.end))]
        lines.append(f"| {wire.name} | {' | '.join(cells)} |")
    return lines


def made(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n".join([*public(), "", *rows()])
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{_cell(text)}`".replace("\n", "\\n") if text else ""


def main() -> int:
    """Write or check the page."""
    old = DOC.read_text(encoding="utf-8")
    new = made(old)
    if "--check" in sys.argv:
        return int(old != new)
    DOC.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
