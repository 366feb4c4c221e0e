"""Evidence drawn over the crop that a network saw, as an image"""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.records import ClassMap, Explanation

SHOWN = 256                                        # pixels a side at least; smaller crops get larger pixels
LARGEST = 448                                      # pixels a side of a crop
TINY = 64                                          # pixels up to which a crop is stored exactly
OPACITY = 0.7                                     # of the strongest evidence
# Matplotlib's inferno (CC0) at nine even steps: lightness rises evenly, also in grey and for the colour-blind.
INFERNO = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
        (249, 201, 50), (252, 255, 164),
    ]
)  # fmt: skip
AGAINST = np.array([(0, 0, 4), (32, 80, 200), (120, 210, 255)])


def draw_crop(explanation: Explanation) -> Image.Image:
    """Return the crop, enlarged by a whole factor to at least ``SHOWN`` pixels a side."""
    times = math.ceil(SHOWN / len(explanation.crop))
    return Image.fromarray(explanation.crop.repeat(times, axis=0).repeat(times, axis=1))


def draw_evidence(explanation: Explanation, class_map: ClassMap, *, signed: bool = False) -> Image.Image:
    """Return the crop under the evidence for a class: clear without evidence, light yellow where it is strongest.

    Each map is scaled by its own peak, so that colours of two images do not compare. ``signed`` also shows
    evidence against the class, in blue.
    """
    image = np.asarray(draw_crop(explanation), np.float64)
    evidence = _upsample(class_map.evidence, explanation, len(image))
    peak = float(np.abs(class_map.evidence).max() if signed else class_map.evidence.max())
    strength = (evidence / peak).clip(-1 if signed else 0, 1) if peak > 0 else np.zeros_like(evidence)
    colours = np.where(strength[..., None] < 0, _coloured(-strength, AGAINST), _coloured(strength, INFERNO))
    opacity = OPACITY * np.abs(strength[..., None]) ** 0.7
    return Image.fromarray((image * (1 - opacity) + colours * opacity).round().astype(np.uint8))


def encoded(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> bytes:
    """Return the bytes of an image file; PNG is exact, JPEG a tenth of its size."""
    out = io.BytesIO()
    image.save(out, kind, quality=88, subsampling=0)        # PNG ignores both
    return out.getvalue()


def encoded_crop(crop: NDArray[np.uint8]) -> bytes:
    """Encode RGB uint8 [S, S, 3]: tiny crops exactly as PNG, others as JPEG of at most ``LARGEST`` pixels a side."""
    image = Image.fromarray(crop)
    if len(crop) <= TINY:
        return encoded(image, "PNG")
    if len(crop) > LARGEST:
        image = image.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return encoded(image, "JPEG")


def _upsample(evidence: NDArray[np.float32], explanation: Explanation, side: int) -> NDArray[np.float64]:
    """Resize float32 [h, w] to [side, side] bilinearly, with each position of the map at its pixel of the crop.

    That is (stride · row, stride · column): every layer that halves a map keeps the even pixels. Stretching the map
    over the crop, as is often done, would shift it by almost half a position to the right and down.
    """
    stride, crop = explanation.stride, len(explanation.crop)
    map_ = Image.fromarray(np.pad(evidence, ((0, 1), (0, 1)), "edge"))
    first = (stride - 1) / (2 * stride)            # the edge of the crop, in positions
    box = (first, first, first + crop / stride, first + crop / stride)
    return np.asarray(map_.resize((side, side), Image.Resampling.BILINEAR, box), np.float64)


def _coloured(strength: NDArray[np.float64], table: NDArray[np.int_]) -> NDArray[np.float64]:
    """Map [H, W] in 0..1 to RGB [H, W, 3] in 0..255 by interpolation between the rows of ``table``."""
    steps = np.linspace(0, 1, len(table))
    return np.stack([np.interp(strength, steps, channel) for channel in table.T], axis=-1)
