"""The base of every HTML report: one page that opens anywhere, without a connection, and reads without its script.

The functions below return parts of a page. They escape their arguments; ``section`` and ``page`` take only such
parts. Colours follow the reader's light or dark setting, wide tables scroll inside their
own box, and a phone of 360 px shows everything.
"""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape as escape_html
from importlib import resources
from typing import Literal

from wideresnet.report.escape import printable

Point = tuple[float, float]
Projection = Callable[[Point], Point]              # values of the two axes -> units of the drawing

WIDTH, HEIGHT = 640, 300                           # of a line chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 44, 56          # its margins
SERIES = 6                                         # colours and dashes there are; then they begin again


def page(title: str, sections: Sequence[str], head: str = "") -> str:
    """Return the complete HTML document. It loads nothing, and only its own script runs.

    ``head`` is HTML for a page of a service, which sends its own policy, instead of policy and script.
    """
    style, script = (resources.files(__package__).joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(sha256(script.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    head = head or f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    end = f"<script>{script}</script>\n" if policy in head else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{head}<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{''.join(sections)}{end}</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Return text for an element or attribute, on one line and without control characters."""
    return escape_html(printable(text))


def section(heading: str, *parts: str) -> str:
    """Return parts under a heading, or nothing if all are empty. An empty heading is left out."""
    if not any(parts):
        return ""
    head = f"<h2>{escape(heading)}</h2>\n" if heading else ""
    return f"<section>\n{head}{''.join(parts)}</section>\n"


def paragraph(text: str) -> str:
    """Return a paragraph of text."""
    return f"<p>{escape(text)}</p>\n"


def subsection(heading: str, *parts: str) -> str:
    """Return parts under a smaller heading, or nothing if all are empty."""
    return f"<h3>{escape(heading)}</h3>\n{''.join(parts)}" if any(parts) else ""


def code(heading: str, text: str) -> str:
    """Return text with its line breaks under a small heading."""
    lines = "\n".join(map(escape, text.rstrip().splitlines()))
    return f'<h4>{escape(heading)}</h4>\n<pre tabindex="0">{lines}</pre>\n'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Return the main figures in large print: a name, a value, and a note in small print (may be empty)."""
    if not figures:
        return ""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd>{escape(note)}</dd></div>\n"
        for name, value, note in figures
    )
    return f'<dl class="tiles">\n{"".join(cells)}</dl>\n'


@dataclass(frozen=True)
class Figure:
    """A JPEG or PNG with its caption; without the image, the caption alone."""

    image: bytes | None
    title: str
    lines: tuple[str, ...] = ()


def gallery(figures: Sequence[Figure], size: Literal["small", "large"] = "small") -> str:
    """Return images side by side, embedded in the page; large ones fill its width two by two."""
    cells = "".join(f"<li>{_figure(figure)}</li>\n" for figure in figures)
    return f'<ul class="gallery {size}-images">\n{cells}</ul>\n' if figures else ""


def folded(heading: str, *parts: str, anchor: str = "", unfolded: bool = False) -> str:
    """Return parts that a click on the heading shows; ``anchor`` is a name for links to them."""
    if not any(parts):
        return ""
    name = f' id="{escape(anchor)}"' if anchor else ""
    state = " open" if unfolded else ""
    return f"<details{state}><summary>{escape(heading)}</summary><div{name}>\n{''.join(parts)}</div></details>\n"


def downloads(files: Mapping[str, str]) -> str:
    """Return links that save texts under their names; the page holds the texts."""
    links = []
    for name, text in files.items():
        kind = "text/csv" if name.endswith(".csv") else "application/json"
        data = base64.b64encode(text.encode("utf-8", "backslashreplace")).decode("ascii")
        links.append(f'<a download="{escape(name)}" href="data:{kind};charset=utf-8;base64,{data}">{escape(name)}</a>')
    return f"<p>The numbers as files: {', '.join(links)}</p>\n" if links else ""


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as CSV under a line with the names of their columns."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0] if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def side_by_side(*parts: str) -> str:
    """Return figures next to each other where there is room."""
    return f'<div class="pair">\n{"".join(parts)}</div>\n' if any(parts) else ""


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names with their values."""
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in pairs)
    return f'<dl class="facts">\n{lines}</dl>\n' if pairs else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows of cells; the columns in ``right`` are aligned to the right. A wide table scrolls."""
    if not rows:
        return ""

    def cells(tag: str, row: Sequence[str]) -> str:
        sides = [' class="right"' if index in right else "" for index in range(len(row))]
        return "".join(f"<{tag}{side}>{escape(cell)}</{tag}>" for side, cell in zip(sides, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in rows)
    # Without a mouse only elements that the keyboard reaches can be scrolled.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="table: {escape(", ".join(filter(None, heads)))}">'
        f"<table>\n<thead><tr>{cells('th', heads)}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )


def bars(title: str, rows: Sequence[tuple[str, float]], unit: str) -> str:
    """Return horizontal bars from zero with their values, nothing for fewer than two; nan and less than 0: no bar."""
    if len(rows) < 2:
        return ""
    most = max((value for _, value in rows if value > 0), default=1.0)
    items = []
    for name, value in rows:
        width = 70 * value / most if value > 0 else 0.0       # per cent; the rest is for the number
        bar = f'<i style="width:{width:.1f}%"></i>'
        items.append(f"<dt>{escape(name)}</dt><dd>{bar}{number(value)} {escape(unit)}</dd>\n")
    return f'<figure><figcaption>{escape(title)}</figcaption>\n<dl class="bars">\n{"".join(items)}</dl></figure>\n'


def lines(title: str, series: Mapping[str, Sequence[Point]], x: str, y: str) -> str:
    """Return curves over two axes called ``x`` and ``y``, with a legend if there are several; nan is left out."""
    curves = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in series.items()}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return ""
    across, up = (ticks([point[axis] for point in points]) for axis in (0, 1))

    def draw(project: Projection) -> str:
        return "".join(_curve(index, list(map(project, curve))) for index, curve in enumerate(curves.values()))

    legend = "".join(f"<li>{_swatch(index)}{escape(name)}</li>" for index, name in enumerate(curves))
    below = f'<ul class="legend">{legend}</ul>\n' if len(curves) > 1 else ""
    return chart(title, (across, up), (x, y), draw, below)


def chart(
    title: str,
    axes: tuple[Sequence[float], Sequence[float]],
    names: tuple[str, str],
    draw: Callable[[Projection], str],
    below: str = "",
) -> str:
    """Return a figure with two axes, by their ticks and names; ``draw`` returns the SVG within. ``below`` is HTML."""
    across, up = axes

    def project(point: Point) -> Point:
        x, y = ((value - marks[0]) / (marks[-1] - marks[0]) for value, marks in zip(point, axes, strict=True))
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    return (
        f"<figure><figcaption>{escape(title)}</figcaption>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_axes(across, up, project, names)}{draw(project)}</svg>\n{below}</figure>\n"
    )


def ticks(values: Sequence[float], about: int = 5) -> list[float]:
    """Return round numbers at even steps of 1, 2 or 5 times a power of ten that enclose all ``values``."""
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(step * index, 12) for index in range(first, last + 1)]


def number(value: float) -> str:
    """Return three significant digits with thousands separators: 0.0123, 4.56, 78.9, 1,234; nan is a dash.

    An int has all its digits.
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "–"
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def fact_rows(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return names and values for ``facts``, without empty values and flags that are off; lists are joined."""
    rows = []
    for name, value in values.items():
        items = [f"{key} {item}" for key, item in value.items()] if isinstance(value, Mapping) else value
        text = ", ".join(map(str, items)) if isinstance(items, list | tuple) else str(items)
        if value or (value == 0 and value is not False):
            rows.append((name.replace("_", " "), text))
    return rows


def _curve(index: int, points: Sequence[Point]) -> str:
    style = f"s{index % SERIES}"
    dots = "".join(f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return f'<polyline class="line {style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>{dots}'


def _axes(across: Sequence[float], up: Sequence[float], project: Projection, names: tuple[str, str]) -> str:
    """Return ticks with their values, grid lines at those of the second axis, and the names of both."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']
    for value in up:
        y = project((across[0], value))[1]
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:,g}</text>')
    for value in across:
        x = project((value, up[0]))[0]
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 24}" text-anchor="middle">{value:,g}</text>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">{escape(names[0])}</text>')
    parts.append(f'<text x="4" y="20">{escape(names[1])}</text>')
    return "".join(parts)


def _swatch(index: int) -> str:
    return f'<svg viewBox="0 0 32 6" aria-hidden="true"><path class="line s{index % SERIES}" d="M0 3H32"/></svg>'


def _figure(figure: Figure) -> str:
    image = ""
    if figure.image is not None:
        kind = "png" if figure.image.startswith(b"\x89PNG") else "jpeg"
        encoded = base64.b64encode(figure.image).decode("ascii")
        image = f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(figure.title)}" loading="lazy">'
    lines = "".join(f"<span>{escape(line)}</span>" for line in figure.lines)
    return f"{image}<b>{escape(figure.title)}</b>{lines}"
