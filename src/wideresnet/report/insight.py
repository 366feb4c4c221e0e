"""Explanations and files of features in words, as JSON, and as a page"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from wideresnet.records import EmbedReport, EngineInfo, Explanation
from wideresnet.report.escape import printable
from wideresnet.report.html.overlay import draw_crop, encoded
from wideresnet.report.html.page import Shown, facts, gallery, page, paragraph, section
from wideresnet.report.names import ClassName, image_name

HOW = (
    "These networks average their last map over all places and put one linear layer on it. So a logit is the bias of"
    " its class plus the mean of what each place adds, its evidence. That is exact, not estimated (class activation"
    " maps, Zhou et al., arXiv 1512.04150). Below each map stand probability and logit = bias + mean evidence."
)
COLOURS = (
    "Drawn over the crop that the network saw, not over the whole photograph: clear where there is no evidence, from"
    " dark over red to light yellow where it is strong. Each map is scaled by its own peak, so that the colours of two"
    " maps do not compare."
)
NAME_BYTES = 230                                   # file systems allow 255; the rest is for number and ending
SIGNED = " Blue speaks against the class."


def file_name(path: str, label: str, taken: set[str]) -> str:
    """NAME-CLASS.png for an image and a class, and with a number where that is ``taken``; it is from now on."""
    word = re.sub(r"[^\w.-]+", "_", label).strip("_")[:40]
    stem = os.fsencode(Path(path).stem)[: NAME_BYTES - len(os.fsencode(word))]
    base = f"{os.fsdecode(stem)}-{word}"
    name, number = f"{base}.png", 1
    while name in taken:
        number += 1
        name = f"{base}-{number}.png"
    taken.add(name)
    return name


def of_explanation(explanation: Explanation, files: Sequence[Path]) -> dict[str, Any]:
    """``peak`` is [left, top, right, bottom] of the strongest place, in pixels of the crop of ``side``."""
    classes = [
        {**asdict(each.score), "logit": each.logit, "bias": each.bias, "peak": list(each.peak)}
        for each in explanation.maps
    ]
    for entry, file in zip(classes, files, strict=False):      # none where only a page is written
        entry["file"] = str(file)
    return {"path": explanation.path, "side": len(explanation.crop), "classes": classes}


def text_of_explanation(explanation: Explanation, files: Sequence[Path]) -> str:
    """A line a class: the image, the class, and the file."""
    places = [f"  -> {printable(str(file))}" for file in files] or [""] * len(explanation.maps)
    return "\n".join(
        f"{printable(explanation.path):<24}  {printable(each.score.label)} {100 * each.score.probability:.1f} %{place}"
        for each, place in zip(explanation.maps, places, strict=True)
    )


def explained(explanation: Explanation, drawn: Sequence[Image.Image], name_of: ClassName) -> str:
    """The section of one image: the crop, and its evidence for each class as it was ``drawn``."""
    side = len(explanation.crop)
    shown = [Shown(encoded(draw_crop(explanation), "JPEG"), "what it saw", (f"{side} × {side} pixels",))]
    for each, image in zip(explanation.maps, drawn, strict=True):
        lines = [f"{100 * each.score.probability:.1f} %"]
        lines.append(f"{each.logit:.2f} = {each.bias:.2f} + {each.logit - each.bias:.2f}".replace("-", "−"))
        if each.evidence.max() <= 0:
            lines.append("nothing speaks for it")
        shown.append(Shown(encoded(image, "JPEG"), name_of(each.score.index), tuple(lines)))
    return section(image_name(explanation.path), gallery(shown))


def html(model: str, engine: EngineInfo, sections: Sequence[str], total: int, signed: bool) -> str:
    """The page of all explained images; ``sections`` may be the first of ``total``."""
    how = f"{engine.runtime} {engine.version}, {engine.precision}"
    pairs = [("model", model), ("engine", how), ("images", f"{total:,}")]
    if len(sections) < total:
        pairs.append(("shown", f"the first {len(sections):,}"))
    words = paragraph(HOW) + paragraph(COLOURS + (SIGNED if signed else ""))
    return page(f"Where {model} looks", [section("", facts(pairs), words), *sections])


def of_embedding(report: EmbedReport) -> dict[str, Any]:
    """``layers`` gives the shape of a row by layer; ``n`` counts the rows."""
    return {
        "file": report.file,
        "model": report.model,
        "n": report.n,
        "layers": {name: list(shape) for name, shape in report.shapes.items()},
        "dtype": report.dtype,
        "failures": [asdict(each) for each in report.failures],
        "skipped": asdict(report.skipped),
        "engine": report.engine.runtime,
        "engine_version": report.engine.version,
        "precision": report.engine.precision,
        "assumed": list(report.assumed),
    }


def text_of_embedding(report: EmbedReport) -> str:
    """What a file of features holds, in two lines."""
    layers = ", ".join(f"{name} {[report.n, *shape]}" for name, shape in report.shapes.items())
    engine = report.engine
    return (
        f"{report.file}: {layers} {report.dtype}\n"
        f"  {report.model} with {engine.runtime} {engine.version}, {engine.precision}; {len(report.failures)} failures"
    )
