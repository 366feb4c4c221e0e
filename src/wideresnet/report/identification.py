"""The conventions that fit a weights file, as text and JSON."""

from __future__ import annotations

from typing import Any

from wideresnet.records.identification import Fit, Identification
from wideresnet.report.formats import json_percent, text_table

SAME = 1.02                                        # times a mismatch: no difference


def to_text(result: Identification) -> str:
    """Return the candidates as a table, best first, and the options that state the best one."""
    names, count = tuple(result.fits[0].variant), len(result.fits[0].variant)
    heads = ("normalise", *names, "mismatch", *(["top-1"] if result.labelled else []))
    rows = [
        (fit.normalise, *(str(fit.variant.get(name, "")) for name in names), f"{fit.mismatch:.3f}", *_accuracy(fit))
        for fit in result.fits
    ]
    table = text_table([heads, *rows], right={1 + count, 2 + count})
    return f"{result.file}, on {result.n} images:\n{table}\n{conclusion(result)}"


def conclusion(result: Identification) -> str:
    """Return one sentence: the options of the best candidate, and how clear it is."""
    best, *further = result.fits
    rivals = [fit for fit in further if fit.normalise != best.normalise]
    text = f"best: {' '.join(options(best))}"
    for fit in further:
        if fit.normalise == best.normalise and fit.accuracy == best.accuracy and fit.mismatch < SAME * best.mismatch:
            text += f" ({' '.join(options(fit)[1:])} fits as well)"
    if not rivals:
        return f"{text}; no other normalisation came near"
    rival = rivals[0]
    text += f"; {rival.mismatch / max(best.mismatch, 1e-3):.1f} times better than {rival.normalise}"
    if best.accuracy is None or rival.accuracy is None:
        return text
    return f"{text}, {100 * (best.accuracy - rival.accuracy):+.1f} points of top-1"


def options(fit: Fit) -> list[str]:
    """Return the options of the command line that state a candidate."""
    variant = [f"--{name.replace('_', '-')} {value}" for name, value in fit.variant.items()]
    return [*([] if fit.normalise == "file" else [f"--normalise {fit.normalise}"]), *variant]


def to_json(result: Identification) -> dict[str, Any]:
    """Return the candidates as JSON values; top1 in percent."""
    return {
        "file": result.file, "n": result.n, "labelled": result.labelled, "options": options(result.fits[0]),
        "fits": [
            {"normalise": fit.normalise, **fit.variant, "mismatch": round(fit.mismatch, 4),
             "top1": None if fit.accuracy is None else json_percent(fit.accuracy)}
            for fit in result.fits
        ],
    }  # fmt: skip


def _accuracy(fit: Fit) -> tuple[str, ...]:
    return () if fit.accuracy is None else (f"{100 * fit.accuracy:.1f} %",)
