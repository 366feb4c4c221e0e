"""Explanations as text, JSON and a page."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from wideresnet.records import EngineInfo, Explanation
from wideresnet.report.escape import printable
from wideresnet.report.formats import engine_text
from wideresnet.report.html.overlay import draw_crop, encoded
from wideresnet.report.html.page import Figure, fact_rows, facts, gallery, page, paragraph, section
from wideresnet.report.names import ClassName, image_name

METHOD = (
    "These networks average their last map over all positions and put one linear layer on it. So a logit is the bias"
    " of its class plus the mean of what each position adds, its evidence. That is exact, not estimated (class"
    " activation maps, Zhou et al., arXiv 1512.04150). Below each map stand probability and logit = bias + mean"
    " evidence."
)
COLOURS = (
    "Drawn over the crop that the network saw, not over the complete photograph: clear where there is no evidence, from"
    " dark over red to light yellow where it is strong. Each map is scaled by its own peak, so that the colours of two"
    " maps do not compare."
)
SIGNED = " Blue speaks against the class."
NAME_BYTES = 230                                   # file systems allow 255; the rest is for number and suffix


def file_name(path: str, label: str, taken: set[str]) -> str:
    """Return NAME-CLASS.png for an image and a class, with a number if that is in ``taken``, and add it there."""
    class_part = re.sub(r"[^\w.-]+", "_", label).strip("_")[:40]
    stem = os.fsencode(Path(path).stem)[: NAME_BYTES - len(os.fsencode(class_part))]
    base = f"{os.fsdecode(stem)}-{class_part}"
    name, number = f"{base}.png", 1
    while name in taken:
        number += 1
        name = f"{base}-{number}.png"
    taken.add(name)
    return name


def to_text(explanation: Explanation, files: Sequence[Path]) -> str:
    """Return a line a class: the image, the class, and its file if there are ``files``."""
    targets = [f"  -> {printable(str(file))}" for file in files] or [""] * len(explanation.maps)
    return "\n".join(
        f"{printable(explanation.path):<24}  {printable(map_.score.label)} {100 * map_.score.probability:.1f} %{target}"
        for map_, target in zip(explanation.maps, targets, strict=True)
    )


def to_json(explanation: Explanation, files: Sequence[Path]) -> dict[str, Any]:
    """Return JSON values; ``peak`` is [left, top, right, bottom] of the strongest position, in pixels of the crop."""
    classes = [
        {**asdict(map_.score), "logit": map_.logit, "bias": map_.bias, "peak": list(map_.peak)}
        for map_ in explanation.maps
    ]
    for entry, file in zip(classes, files, strict=False):      # none where only a page is written
        entry["file"] = str(file)
    return {"path": explanation.path, "side": len(explanation.crop), "classes": classes}


def to_html(
    conditions: Mapping[str, object], engine: EngineInfo, sections: Sequence[str], total: int, signed: bool
) -> str:
    """Return the page of all explained images; ``sections`` may be the first of ``total``."""
    model = conditions["model"]
    rows = [("model", str(model)), ("engine", engine_text(engine)), ("images", f"{total:,}")]
    if len(sections) < total:
        rows.append(("shown", f"the first {len(sections):,}"))
    method = paragraph(METHOD) + paragraph(COLOURS + (SIGNED if signed else ""))
    below = section("Conditions", facts(fact_rows(conditions)))
    return page(f"Where {model} looks", [section("", facts(rows), method), *sections, below])


def image_section(explanation: Explanation, overlays: Sequence[Image.Image], name_of: ClassName) -> str:
    """Return the section of one image: the crop, and the overlay of each class."""
    side = len(explanation.crop)
    figures = [Figure(encoded(draw_crop(explanation), "JPEG"), "what it saw", (f"{side} × {side} pixels",))]
    for map_, overlay in zip(explanation.maps, overlays, strict=True):
        lines = [f"{100 * map_.score.probability:.1f} %"]
        lines.append(f"{map_.logit:.2f} = {map_.bias:.2f} + {map_.logit - map_.bias:.2f}".replace("-", "−"))
        if map_.evidence.max() <= 0:
            lines.append("nothing speaks for it")
        figures.append(Figure(encoded(overlay, "JPEG"), name_of(map_.score.index), tuple(lines)))
    return section(image_name(explanation.path), gallery(figures, "large"))
