"""The note that photographs are not stored upright, where their EXIF orientation is ignored."""

from __future__ import annotations

from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.sample import balanced_sample
from wideresnet.images.exif import UPRIGHT, orientation, split_exif
from wideresnet.images.sniff import first_bytes

SAMPLE, HEAD = 256, 2**16                          # files, and bytes of each, that are looked at


def orientation_notes(data: LabelledData) -> tuple[str, ...]:
    """Return a sentence if EXIF turns photographs that are not turned here; a sample of the files is looked at."""
    items = balanced_sample(data.items, SAMPLE) if data.exif == "ignore" else []
    files = [item.source for item in items if isinstance(item.source, Path)]
    turned = sum(orientation(split_exif(first_bytes(file, HEAD))[1]) != UPRIGHT for file in files)
    shown = f"{turned:,} of {len(files):,} images that were looked at are not stored upright: their EXIF orientation"
    return (f"{shown} is ignored, which 'wrn classify' applies",) if turned else ()
