"""The models that could be run on this machine, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from wideresnet.records import Choice, Peak
from wideresnet.report.formats import text_table


def to_text(choices: Sequence[Choice], peak: Peak) -> str:
    """Return the table of all choices, most accurate first, and below it the best that meets the requirements."""
    heads = ("", "weights", "pixels", "precision", "top-1", "images/s", "ms", "speed", "accuracy by")
    rows = [
        (
            ("*" if choice.best else " ") + ("" if choice.fits else " -"), choice.name, str(choice.pixels),
            choice.precision, f"{100 * choice.top1:.2f}", f"{choice.images_per_s:.1f}", f"{choice.latency_ms:.0f}",
            choice.speed if choice.speed == choice.latency else f"{choice.speed}, ms {choice.latency}", choice.source,
        )
        for choice in choices
    ]  # fmt: skip
    limits = ", ".join(f"{precision} {value:.0f}" for precision, value in asdict(peak).items() if value)
    best = next((choice for choice in choices if choice.fits and choice.best), None)
    return "\n".join(
        [
            text_table([heads, *rows], right={2, 4, 5, 6}),
            "",
            "* nothing else is as accurate and as fast;  - does not meet what was asked",
            "Accuracy is as published for float32; for int8 the 0.2 points that its gate allows are taken off.",
            f"Peak here, G operations a second: {limits}.",
            f"take {best.name} in {best.precision}" if best else "nothing here meets what was asked",
        ]
    )
