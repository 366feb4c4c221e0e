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


def thumbnails(report: EvalReport, sources: Mapping[str, Item] | None) -> dict[str, bytes]:
    """Return JPEGs by path of the images on the page of ``report``, preprocessed as in it; see ``thumbnails_of``."""
    conditions = report.conditions
    if not conditions:
        return thumbnails_of(shown_paths(report), sources, None)
    return thumbnails_of(shown_paths(report), sources, conditions.preprocess, conditions.exif)


def thumbnails_of(
    paths: Iterable[str], sources: Mapping[str, Item] | None, spec: Preprocess | None, exif: Exif = "ignore"
) -> dict[str, bytes]:
    """Return JPEGs of about ``SIDE`` pixels a side by path, of the crops that ``spec`` makes.

    A path that is not in ``sources`` is a file. ``spec`` None: the largest square in the middle. Unreadable images are
    left out.
    """
    jpegs: dict[str, bytes] = {}
    spec = spec or Preprocess(resize=SIDE, crop=SIDE)
    for path in paths:
        item = (sources or {}).get(path)
        try:
            jpegs[path] = _jpeg(load_crop(item.source if item else Path(path), spec, exif=exif))
        except ImageError:
            continue
    return jpegs


def _jpeg(crop: NDArray[np.uint8]) -> bytes:
    """Encode RGB uint8 [S, S, 3] as JPEG: small crops with each pixel enlarged to a square, large crops reduced."""
    image = Image.fromarray(crop)
    if len(crop) > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    elif 2 * len(crop) <= SIDE:
        times = SIDE // len(crop)
        image = image.resize((times * len(crop), times * len(crop)), Image.Resampling.NEAREST)
    return encoded(image, "JPEG")
