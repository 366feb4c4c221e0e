"""Images for pages, as the network gets them, in bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from wideresnet.errors import ImageError
from wideresnet.images.loader import load_crop
from wideresnet.records import EvalReport, Exif, Item, Preprocess
from wideresnet.report.html.evaluation import shown_paths
from wideresnet.report.html.overlay import LARGEST, encoded_crop

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
    """Return the crops that ``spec`` makes by path, as ``encoded_crop`` encodes them.

    A path that is not in ``sources`` is a file. ``spec`` None: the largest square in the middle. Left out are
    unreadable images, and those for which ``MAX_BYTES`` leaves no room.
    """
    images: dict[str, bytes] = {}
    size = 0
    spec = spec or Preprocess(resize=LARGEST, crop=LARGEST)
    for path in paths:
        item = (sources or {}).get(path)
        try:
            image = encoded_crop(load_crop(item.source if item else Path(path), spec, exif=exif))
        except ImageError:
            continue
        if (size := size + len(image)) > MAX_BYTES:
            break
        images[path] = image
    return images
