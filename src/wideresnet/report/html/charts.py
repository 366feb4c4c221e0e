"""Further kinds of charts for pages: columns over a range, and a square of counts."""

from __future__ import annotations

from collections.abc import Sequence

from wideresnet.report.html.page import SERIES, Place, chart, escape, ticks

NARROW = 60                                        # columns from which on there is no gap between them
FAINTEST, DEEPEST = 8, 55                          # per cent of colour in a cell: words stay readable on it


def columns(
    title: str,
    heights: Sequence[float],
    span: tuple[float, float],
    names: tuple[str, str],
    colour: int = 0,
) -> str:
    """Columns from zero, equally wide over ``span`` of the first axis; some hundreds make a curve. None: nothing."""
    if not heights:
        return ""
    first, last = span
    width = (last - first) / len(heights)
    gap = 0.0 if len(heights) >= NARROW else 0.08 * width

    def draw(place: Place) -> str:
        parts = []
        for index, height in enumerate(heights):
            left, top = place((first + index * width + gap, height))
            right, bottom = place((first + (index + 1) * width - gap, 0.0))
            parts.append(f"M{left:.1f} {bottom:.1f}V{top:.1f}H{right:.1f}V{bottom:.1f}Z")
        return f'<path class="dot s{colour % SERIES}" d="{"".join(parts)}"/>'

    return chart(title, (ticks(span), ticks([0.0, max(*heights, 0.0) or 1.0])), names, draw)


def counts(title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]], note: str) -> str:
    """A table of whole numbers as a heat map: each cell as deep as its share of its row; zeros are left empty.

    The cell of row i in column i is right and has a colour of its own. ``note`` says what rows and columns are.
    """
    if not rows:
        return ""
    top = "".join(f'<th scope="col"><span>{escape(head)}</span></th>' for head in heads)
    body = "".join(f"<tr>{_row(place, name, values)}</tr>\n" for place, (name, values) in enumerate(rows))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>\n<div class="scroll" role="region" tabindex="0"'
        f' aria-label="{escape(title)}"><table class="heat">\n<thead><tr><td>{escape(note)}</td>{top}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div></figure>\n"
    )


def _row(place: int, name: str, values: Sequence[int]) -> str:
    whole = sum(values) or 1
    cells = "".join(_cell(value / whole, value, right=column == place) for column, value in enumerate(values))
    return f'<th scope="row">{escape(name)}</th>{cells}'


def _cell(share: float, value: int, *, right: bool) -> str:
    if not value:
        return "<td></td>"
    # One confusion in a hundred should be seen.
    depth = FAINTEST + (DEEPEST - FAINTEST) * share**0.5
    return f'<td class="{"hit" if right else "miss"}" style="--deep:{depth:.0f}%">{value:,}</td>'
