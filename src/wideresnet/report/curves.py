"""The curves of a training run as one page with inline SVG: no script, no request."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 640, 240, 44

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
 :root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
 body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
 svg {{ width: 100%; height: auto }} svg text {{ font-size: 12px; fill: currentColor }}
 .axis {{ fill: none; stroke: currentColor; opacity: .35 }} .line {{ fill: none; stroke: #2f7bd6; stroke-width: 2 }}
 .dot {{ fill: #2f7bd6 }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
{charts}
</html>
"""


def draw_curves(title: str, log: Sequence[dict[str, float]]) -> str:
    """HTML page of loss and test accuracy over epochs; ``log`` holds epoch, loss, top1 (nan: not measured)."""
    loss = [(line["epoch"] + 1, line["loss"]) for line in log]
    top1 = [(line["epoch"] + 1, 100 * line["top1"]) for line in log if line["top1"] == line["top1"]]
    minutes = sum(line["seconds"] for line in log) / 60
    last = f", test accuracy {top1[-1][1]:.2f} %" if top1 else ""
    charts = _chart("training loss", loss) + _chart("test accuracy, %", top1)
    summary = f"{len(log)} epochs in {minutes:.0f} minutes{last}."
    return _PAGE.format(title=escape(title), summary=summary, charts=charts)


def _chart(name: str, points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    last = max(x for x, _ in points)
    span = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - 1) / max(last - 1, 1)
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - (y - low) / span * (HEIGHT - 2 * MARGIN)

    spots = [place(x, y) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots)
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    return (
        f'<h2>{escape(name)}</h2><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
        f'<path class="axis" d="M{MARGIN} {MARGIN}V{bottom}H{right}"/>'
        f'<text x="{MARGIN - 6}" y="{MARGIN + 4}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">{low:.2f}</text>'
        f'<text x="{MARGIN}" y="{bottom + 18}">1</text>'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">epoch {last:g}</text>'
        f'<polyline class="line" points="{line}"/>{dots}</svg>'
    )
