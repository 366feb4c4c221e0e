"""The note that photographs are not stored upright, where their EXIF orientation is ignored."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.sample import balanced_sample
from wideresnet.datasets.tar import TarMember
from wideresnet.errors import ImageError
from wideresnet.images.decode import DEFAULT_LIMITS, stored_orientation
from wideresnet.images.exif import UPRIGHT
from wideresnet.images.sniff import first_bytes, image_format

SAMPLE, HEAD = 256, 2**18                          # files, and bytes of each, that are looked at


def orientation_notes(data: LabelledData) -> tuple[str, ...]:
    """Return a sentence if EXIF turns photographs that are not turned here; a sample of the files is looked at."""
    items = balanced_sample(data.items, SAMPLE) if data.exif == "ignore" else []
    sources = [item.source for item in items if isinstance(item.source, Path | bytes | TarMember)]
    turned = sum(_orientation_of(source) != UPRIGHT for source in sources)
    shown = f"{turned:,} of {len(sources):,} images that were looked at are not stored upright: their EXIF orientation"
    return (f"{shown} is ignored, which 'wrn classify' applies",) if turned else ()


def _orientation_of(source: Path | bytes | TarMember) -> int:
    with suppress(ImageError):
        head = _head(source, HEAD)
        at_end = image_format(head) in ("WebP", "AVIF")        # where these may have their EXIF
        return stored_orientation(_head(source, DEFAULT_LIMITS.bytes) if at_end else head)
    return UPRIGHT


def _head(source: Path | bytes | TarMember, count: int) -> bytes:
    if isinstance(source, Path):
        return first_bytes(source, count)
    return source.read(count) if isinstance(source, TarMember) else source[:count]
