"""The images that a page shows, small: what the network saw of them."""

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
    """JPEGs by path of the images that the page of ``report`` shows; see ``thumbnails_of``.

    ``spec`` None: the transform that the report was made with, where it says.
    """
    made = report.conditions
    if spec is None and made:
        spec = made.preprocess
    return thumbnails_of(shown_paths(report), sources, spec, side, made.exif if made else "ignore")


def thumbnails_of(
    paths: Iterable[str],
    sources: Mapping[str, Item] | None,
    spec: Preprocess | None,
    side: int = SIDE,
    exif: Exif = "ignore",
) -> dict[str, bytes]:
    """JPEGs of about ``side`` pixels a side by path, of what a network with transform ``spec`` sees.

    A path that ``sources`` does not hold is a file. ``spec`` None: the largest square in the middle. What cannot be
    read (any more) is left out.
    """
    found: dict[str, bytes] = {}
    seen = spec or Preprocess(resize=side, crop=side)
    for path in paths:
        item = (sources or {}).get(path)
        try:
            found[path] = _jpeg(load_crop(item.source if item else Path(path), seen, exif=exif), side)
        except ImageError:
            continue
    return found


def _jpeg(crop: NDArray[np.uint8], side: int) -> bytes:
    """RGB uint8 [S, S, 3] -> a JPEG: a tiny one with each pixel as a square, a large one reduced."""
    image = Image.fromarray(crop)
    if len(crop) > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    elif 2 * len(crop) <= side:
        times = side // len(crop)
        image = image.resize((times * len(crop), times * len(crop)), Image.Resampling.NEAREST)
    return encoded(image, "JPEG")
