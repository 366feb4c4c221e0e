"""Further charts for pages: columns over a range, and a heat map of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wideresnet.report.html.page import LEFT, RIGHT, SERIES, WIDTH, Projection, chart, escape, ticks

NARROW = 60                                        # columns from which a chart has no gaps between them
FAINTEST, DEEPEST = 8, 55                          # per cent of colour in a cell: text stays readable on it


def columns(
    title: str, heights: Sequence[float], span: tuple[float, float], names: tuple[str, str], colour: int = 0,
    limit: float | None = None,
) -> str:  # fmt: skip
    """Return columns from zero, equally wide over ``span`` of the first axis; some hundreds look like a curve.

    ``limit``: where the first axis has a line across.
    """
    if not heights:
        return ""
    first, last = span
    width = (last - first) / len(heights)
    gap = 0.0 if len(heights) >= NARROW else 0.08 * width
    tallest = max(*heights, 0.0) or 1.0

    def draw(project: Projection) -> str:
        parts = []
        for index, height in enumerate(heights):
            start, top = project((first + index * width + gap, height))
            end, bottom = project((first + (index + 1) * width - gap, 0.0))
            parts.append(f"M{start:.1f} {bottom:.1f}V{top:.1f}H{end:.1f}V{bottom:.1f}Z")
        drawn = f'<path class="dot s{colour % SERIES}" d="{"".join(parts)}"/>'
        if limit is None:
            return drawn
        (x, bottom), (_, top) = (project((limit, height)) for height in (0.0, tallest))
        return f'{drawn}<path class="line s1" d="M{x:.1f} {bottom:.1f}V{top:.1f}"/>'

    return chart(title, (ticks(span), ticks([0.0, tallest])), names, draw)


def interval(title: str, ends: tuple[float, float], value: float, limit: float | None, axis: str) -> str:
    """Return a value with its interval beside the limit that it must not exceed, on an axis that includes zero."""
    limits = [] if limit is None else [limit]
    marks, right = ticks([*ends, value, 0.0, *limits]), WIDTH - RIGHT

    def x(position: float) -> str:
        return f"{LEFT + (position - marks[0]) / (marks[-1] - marks[0]) * (right - LEFT):.1f}"

    low, high = map(x, ends)
    parts = [f'<path class="axis" d="M{LEFT} 90H{right}"/>']
    parts += [f'<path class="grid" d="M{x(mark)} 30V90"/>' for mark in marks]
    parts += [f'<text x="{x(mark)}" y="112" text-anchor="middle">{mark:,g}</text>' for mark in marks]
    parts += [f'<path class="line s1" d="M{x(end)} 24V90"/>' for end in limits]
    parts += [f'<text x="{x(end)}" y="18" text-anchor="middle">limit {end:g}</text>' for end in limits]
    parts.append(f'<path class="line s0" d="M{low} 60H{high}M{low} 50v20M{high} 50v20"/>')
    parts.append(f'<circle class="dot s0" cx="{x(value)}" cy="60" r="6"/>')
    parts.append(f'<text x="{right}" y="134" text-anchor="end">{escape(axis)}</text>')
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>\n<svg viewBox="0 0 {WIDTH} 140" role="img"'
        f' aria-label="{escape(title)}">{"".join(parts)}</svg></figure>\n'
    )


def heat_map(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]], note: str,
    links: Mapping[tuple[int, int], str],
) -> str:  # fmt: skip
    """Return a table of counts, each cell coloured by its fraction of the row; zeros are empty.

    The cell of row i in column i is right and has a colour of its own. ``note`` names rows and columns,
    ``links`` holds the anchors that cells (row, column) lead to.
    """
    if not rows:
        return ""
    top = "".join(f'<th scope="col"><span>{escape(head)}</span></th>' for head in heads)
    body = "".join(f"<tr>{_row(index, name, values, links)}</tr>\n" for index, (name, values) in enumerate(rows))
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>\n<div class="scroll" role="region" tabindex="0"'
        f' aria-label="{escape(title)}"><table class="heat">\n<thead><tr><td>{escape(note)}</td>{top}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div></figure>\n"
    )


def _row(index: int, name: str, values: Sequence[int], links: Mapping[tuple[int, int], str]) -> str:
    total = sum(values) or 1
    cells = "".join(
        _cell(value / total, value, links.get((index, column), ""), right=column == index)
        for column, value in enumerate(values)
    )
    return f'<th scope="row">{escape(name)}</th>{cells}'


def _cell(fraction: float, value: int, anchor: str, *, right: bool) -> str:
    if not value:
        return "<td></td>"
    # One confusion in a hundred should be seen.
    depth = FAINTEST + (DEEPEST - FAINTEST) * fraction**0.5
    shown = f'<a href="#{escape(anchor)}">{value:,}</a>' if anchor else f"{value:,}"
    return f'<td class="{"hit" if right else "miss"}" style="--deep:{depth:.0f}%">{shown}</td>'
