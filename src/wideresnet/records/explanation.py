"""The evidence that a network finds in an image for its classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.records.images import LabelScore

Box = tuple[int, int, int, int]                    # left, top, right, bottom; pixels, the last two exclusive


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The evidence for one class by position (a class activation map, arXiv 1512.04150).

    ``evidence`` is float32 [h, w]: its mean plus ``bias`` is exactly the logit, except for int8 networks, which
    round the mean once more before they answer.
    """

    score: LabelScore
    logit: float
    bias: float
    evidence: NDArray[np.float32]
    peak: Box                                      # of the strongest position, in the crop

    def __repr__(self) -> str:
        score = f"{self.score.label} {100 * self.score.probability:.1f} %"
        return f"<ClassMap {score}: {self.evidence.shape}, peak {self.peak}>"


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image with the maps of some classes.

    ``crop`` is the network's input, RGB uint8 [S, S, 3]. Position (row, column) of a map belongs to the pixels around
    (``stride`` · row, ``stride`` · column) of it.
    """

    path: str
    crop: NDArray[np.uint8]
    stride: int                                    # pixels from one position to the next
    maps: tuple[ClassMap, ...]

    def __repr__(self) -> str:
        return f"<Explanation {self.path}: {len(self.crop)}x{len(self.crop)} pixels, {', '.join(map(repr, self.maps))}>"
