"""Thumbnails of images on a page, as the network gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images.loader import load_crop
from wideresnet.records import EvalReport, Exif, Item, Preprocess
from wideresnet.report.html.evaluation import shown_paths
from wideresnet.report.html.overlay import encoded

SIDE = 160                                         # pixels


def thumbnails(
    report: EvalReport, sources: Mapping[str, Item] | None, spec: Preprocess | None = None, side: int = SIDE
) -> dict[str, bytes]:
    """Return JPEGs by path of the images on the page of ``report``; see ``thumbnails_of``.

    ``spec`` None: the preprocessing of the report, if it is known.
    """
    conditions = report.conditions
    if spec is None and conditions:
        spec = conditions.preprocess
    return thumbnails_of(shown_paths(report), sources, spec, side, conditions.exif if conditions else "ignore")


def thumbnails_of(
    paths: Iterable[str],
    sources: Mapping[str, Item] | None,
    spec: Preprocess | None,
    side: int = SIDE,
    exif: Exif = "ignore",
) -> dict[str, bytes]:
    """Return JPEGs of about ``side`` pixels a side by path, of the crops that ``spec`` makes.

    A path that is not in ``sources`` is a file. ``spec`` None: the largest square in the middle. Unreadable images are
    left out.
    """
    jpegs: dict[str, bytes] = {}
    spec = spec or Preprocess(resize=side, crop=side)
    for path in paths:
        item = (sources or {}).get(path)
        try:
            jpegs[path] = _jpeg(load_crop(item.source if item else Path(path), spec, exif=exif), side)
        except ImageError:
            continue
    return jpegs


def _jpeg(crop: NDArray[np.uint8], side: int) -> bytes:
    """RGB uint8 [S, S, 3] -> a JPEG: a tiny one with each pixel as a square, a large one reduced."""
    image = Image.fromarray(crop)
    if len(crop) > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    elif 2 * len(crop) <= side:
        times = side // len(crop)
        image = image.resize((times * len(crop), times * len(crop)), Image.Resampling.NEAREST)
    return encoded(image, "JPEG")
