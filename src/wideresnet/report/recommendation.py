"""The models that could be run on this machine, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from wideresnet.records import Choice, Peak
from wideresnet.report.escape import shell_lines
from wideresnet.report.formats import command_text, filled, text_table


def to_text(choices: Sequence[Choice], peak: Peak, nearest: Choice) -> str:
    """Return the table of all choices, most accurate first, and the commands of the best one that fits.

    If none does, ``nearest`` is named.
    """
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
    best = next((choice for choice in choices if choice.fits), None)
    return "\n".join(
        [
            text_table([heads, *rows], right={2, 4, 5, 6}),
            "",
            "* nothing else is as accurate and as fast;  - does not meet what was asked;",
            "~ predicted from the peak of this machine, not measured.",
            "Accuracy is as published for float32; for int8 the 0.2 points that its gate",
            "allows are taken off. That of a cascade was measured on the images named.",
            f"Peak here, G operations a second: {limits}.",
            f"take {best.name} in {best.precision}:" if best else _nearest_text(nearest),
            *(f"  {line}" for command in _commands(best or nearest) for line in shell_lines(command_text(command))),
        ]
    )


def _nearest_text(choice: Choice) -> str:
    return filled(
        f"nothing here meets what was asked; nearest is {choice.name} in {choice.precision}"
        f" ({100 * choice.top1:.2f} % top-1, {choice.images_per_s:.1f} images/s, {choice.latency_ms:.0f} ms):"
    )


def _commands(choice: Choice) -> list[list[str]]:
    """Return the commands that use a choice, and that measure its speed, without a download."""
    if choice.is_cascade:
        return [["classify", "photos/", "-m", choice.name], ["bench", "-m", choice.name, "--data", "photos/"]]
    use = ["classify", "photos/", "-m", choice.name, "--precision", choice.precision]
    if choice.precision == "int8":
        use = ["compile", "-m", choice.name, "--calibration", "train/", "--data", "val/", "-o", f"{choice.name}-int8"]
    architecture = choice.name.partition(".")[0]
    measure = ["bench", "-m", architecture, "--random-weights", "--input-shape", str(choice.pixels)]
    return [use, [*measure, "--precision", choice.precision]]


def _sign(speed: str) -> str:
    """Return the sign of a speed that is not "measured"."""
    return "~" if speed == "predicted" else ""
