"""The models that could be run on this machine, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from wideresnet.records import Choice, Peak
from wideresnet.report.formats import text_table


def to_text(choices: Sequence[Choice], peak: Peak) -> str:
    """Return the table of all choices, most accurate first, and below it the best that meets the requirements."""
    heads = ("", "weights", "px", "precision", "top-1", "images/s", "ms", "accuracy by")
    rows = [
        (
            ("*" if choice.best else " ") + ("" if choice.fits else "-"), choice.name, str(choice.pixels),
            choice.precision, f"{100 * choice.top1:.2f}", f"{_sign(choice.speed)}{choice.images_per_s:.1f}",
            f"{_sign(choice.latency)}{choice.latency_ms:.0f}", choice.source.split()[0],
        )
        for choice in choices
    ]  # fmt: skip
    limits = ", ".join(f"{precision} {value:.0f}" for precision, value in asdict(peak).items() if value)
    best = next((choice for choice in choices if choice.fits and choice.best), None)
    return "\n".join(
        [
            text_table([heads, *rows], right={2, 4, 5, 6}),
            "",
            "* nothing else is as accurate and as fast;  - does not meet what was asked;",
            "~ predicted from the peak of this machine, not measured.",
            "Accuracy is as published for float32; for int8 the 0.2 points that its gate",
            "allows are taken off.",
            f"Peak here, G operations a second: {limits}.",
            f"take {best.name} in {best.precision}" if best else "nothing here meets what was asked",
        ]
    )


def _sign(speed: str) -> str:
    """Return the sign of a speed that is not "measured"."""
    return "~" if speed == "predicted" else ""
