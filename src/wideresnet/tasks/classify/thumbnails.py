"""Images for pages, as the network gets them, in bounded size."""

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

SIDE = 448                                         # pixels; larger crops are reduced
TINY = 64                                          # pixels up to which a crop is stored exactly
MAX_BYTES = 6_000_000                              # on one page


def thumbnails(report: EvalReport, sources: Mapping[str, Item] | None) -> dict[str, bytes]:
    """Return the images on the page of ``report`` by path, preprocessed as in it; see ``thumbnails_of``."""
    conditions = report.conditions
    if not conditions:
        return thumbnails_of(shown_paths(report), sources, None)
    return thumbnails_of(shown_paths(report), sources, conditions.preprocess, conditions.exif)


def thumbnails_of(
    paths: Iterable[str], sources: Mapping[str, Item] | None, spec: Preprocess | None, exif: Exif = "ignore"
) -> dict[str, bytes]:
    """Return the crops that ``spec`` makes as JPEGs of at most ``SIDE`` pixels a side, or PNGs if tiny, by path.

    A path that is not in ``sources`` is a file. ``spec`` None: the largest square in the middle. Left out are
    unreadable images, and those for which ``MAX_BYTES`` leaves no room.
    """
    images: dict[str, bytes] = {}
    size = 0
    spec = spec or Preprocess(resize=SIDE, crop=SIDE)
    for path in paths:
        item = (sources or {}).get(path)
        try:
            image = _encoded(load_crop(item.source if item else Path(path), spec, exif=exif))
        except ImageError:
            continue
        if (size := size + len(image)) > MAX_BYTES:
            break
        images[path] = image
    return images


def _encoded(crop: NDArray[np.uint8]) -> bytes:
    """Encode RGB uint8 [S, S, 3]: tiny crops exactly as PNG, others as JPEG."""
    image = Image.fromarray(crop)
    if len(crop) <= TINY:
        return encoded(image, "PNG")
    if len(crop) > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return encoded(image, "JPEG")
