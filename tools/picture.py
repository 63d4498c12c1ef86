"""Draws what a command printed: `swift demo | python tools/picture.py > docs/demo.svg`."""

import sys
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

_LETTER, _LINE, _EDGE = 7.8, 19, 16


def drawn(text: str, title: str) -> str:
    """Return an SVG of a terminal that shows `text`."""
    lines = text.rstrip("\n").split("\n")
    wide = max(sum(2 if east_asian_width(c) in "WF" else 1 for c in line) for line in lines)
    width, height = wide * _LETTER + 2 * _EDGE, (len(lines) + 2) * _LINE + _EDGE
    shown = "".join(
        f'<text x="{_EDGE}" y="{(i + 2) * _LINE + 8}" xml:space="preserve">{escape(line)}</text>\n'
        for i, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#1b1f27"/>\n'
        f'<text x="{_EDGE}" y="22" fill="#8b93a5">{escape(title)}</text>\n'
        f'<g fill="#e4e7ee">\n{shown}</g>\n</svg>\n'
    )


if __name__ == "__main__":
    sys.stdout.write(drawn(sys.stdin.read(), sys.argv[1] if sys.argv[1:] else "$ swift demo"))
