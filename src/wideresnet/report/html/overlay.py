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
    """The crop, enlarged in whole pixels to ``SHOWN`` where it is smaller."""
    times = _times(explanation)
    return Image.fromarray(explanation.crop.repeat(times, axis=0).repeat(times, axis=1))


def draw_evidence(explanation: Explanation, shown: ClassMap, *, signed: bool = False) -> Image.Image:
    """The crop under the evidence for a class: none where it is clear, the strongest in light yellow.

    Each map is scaled by its own peak, so that colours of two images do not compare. ``signed`` shows what speaks
    against the class, too, in blue; else only what speaks for it.
    """
    image = np.asarray(draw_crop(explanation), np.float64)
    evidence = _spread(shown.evidence, explanation, len(image))
    most = float(np.abs(shown.evidence).max() if signed else shown.evidence.max())
    share = (evidence / most).clip(-1 if signed else 0, 1) if most > 0 else np.zeros_like(evidence)
    colours = np.where(share[..., None] < 0, _coloured(-share, AGAINST), _coloured(share, INFERNO))
    opacity = OPACITY * np.abs(share[..., None]) ** 0.7
    return Image.fromarray((image * (1 - opacity) + colours * opacity).round().astype(np.uint8))


def encoded(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> bytes:
    """The bytes of a file; PNG is exact, JPEG a tenth of its size."""
    out = io.BytesIO()
    image.save(out, kind, quality=88, subsampling=0)        # which mean nothing to PNG
    return out.getvalue()


def _times(explanation: Explanation) -> int:
    return math.ceil(SHOWN / len(explanation.crop))


def _spread(evidence: NDArray[np.float32], explanation: Explanation, side: int) -> NDArray[np.float64]:
    """float32 [h, w] -> [side, side], bilinear, with each place at the pixel it looks at.

    That is (stride · row, stride · column): every layer that halves a map keeps the even pixels. To stretch the map
    over the crop, as is often done, would shift it by almost half a place to the right and down.
    """
    stride, crop = explanation.stride, len(explanation.crop)
    map_ = Image.fromarray(np.pad(evidence, ((0, 1), (0, 1)), "edge"))
    first = (stride - 1) / (2 * stride)            # where the edge of the crop lies, in places
    box = (first, first, first + crop / stride, first + crop / stride)
    return np.asarray(map_.resize((side, side), Image.Resampling.BILINEAR, box), np.float64)


def _coloured(share: NDArray[np.float64], table: NDArray[np.int_]) -> NDArray[np.float64]:
    """[H, W] in 0..1 -> RGB [H, W, 3] in 0..255, between the rows of ``table``."""
    steps = np.linspace(0, 1, len(table))
    return np.stack([np.interp(share, steps, channel) for channel in table.T], axis=-1)
