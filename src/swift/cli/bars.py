"""A histogram as lines of blocks for the terminal, and as a picture (SVG)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

Bins = Sequence[tuple[int, int, int]]
"""(from, to, how many) of each."""

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDE, _HIGH, _LEFT, _TOP, _BELOW = 720, 260, 60, 40, 50


def blocks(bins: Bins, *, width: int = 40) -> list[str]:
    """Return a line for each bin; the fullest bar has `width` blocks."""
    bins = _between(bins)
    most = max((count for _, _, count in bins), default=0)
    if not most:
        return []
    names = [f"{begin:,}-{end:,}" for begin, end, _ in bins]
    wide = max(map(len, names))
    return [
        f"{name:>{wide}}  {_bar(count, most, width)} {count:,}".rstrip()
        for name, (_, _, count) in zip(names, bins, strict=True)
    ]


def _between(bins: Bins) -> Bins:
    """Return the bins from the first to the last that holds something."""
    full = [i for i, (_, _, count) in enumerate(bins) if count]
    return bins[full[0] : full[-1] + 1] if full else ()


def _bar(count: int, most: int, width: int) -> str:
    eighths = max(1, round(8 * width * count / most)) if count else 0
    bar = _EIGHTHS[8] * (eighths // 8)
    return bar + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def svg(bins: Bins, *, title: str, limit: int) -> str:
    """Return the picture of a histogram of lengths in tokens.

    Args:
        bins: From 0 on, all of one width.
        title: What is counted.
        limit: Tokens; a line shows it, if it is not far beyond all bins.
    """
    most = max((count for _, _, count in bins), default=0) or 1
    end = (bins[-1][1] + 1) if bins else 1
    wide = _WIDE - _LEFT - 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{_HIGH + _TOP + _BELOW}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for begin, last, count in bins:
        x, high = _LEFT + wide * begin / end, _HIGH * count / most
        bar = wide * (last + 1 - begin) / end - 1
        box = f'x="{x:.1f}" y="{_TOP + _HIGH - high:.1f}" width="{bar:.1f}" height="{high:.1f}"'
        hint = f"<title>{begin:,}-{last:,} tokens: {count:,}</title>"
        parts.append(f'<rect {box} fill="#3b7dd8">{hint}</rect>')
    parts += _axes(end, most, wide)
    if limit <= end:
        x = _LEFT + wide * limit / end
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _HIGH}"'
        parts.append(f'<line {line} stroke="#c0392b" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x - 4:.1f}" y="{_TOP + 12}" text-anchor="end">{limit:,}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(end: int, most: int, wide: int) -> list[str]:
    floor = _TOP + _HIGH
    parts = [f'<line x1="{_LEFT}" x2="{_LEFT + wide}" y1="{floor}" y2="{floor}" stroke="black"/>']
    for quarter in range(5):
        x = _LEFT + wide * quarter / 4
        mark = f'x="{x:.1f}" y="{floor + 18}" text-anchor="middle"'
        parts.append(f"<text {mark}>{end * quarter // 4:,}</text>")
    middle = f'x="{_LEFT + wide / 2:.1f}" y="{floor + 38}" text-anchor="middle"'
    parts.append(f"<text {middle}>tokens</text>")
    parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{most:,}</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0</text>')
    return parts
