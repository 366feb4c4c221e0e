"""The crops of an image for the members of a cascade: those of later members are made where they are needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.engines.cascade import WAITING
from wideresnet.images.decode import Limits, open_image
from wideresnet.images.isolated import decode_crops, decode_in_process
from wideresnet.images.preprocess import preprocess
from wideresnet.records import Preprocess

PIXEL_BYTES = 4                                    # of RGB in Pillow


@dataclass(eq=False)
class Crops:
    """The crops of one image, RGB uint8 [S, S, 3] by each of ``specs``, of which the first ``arrays`` are there.

    The others are made from the decoded ``image``.
    """

    specs: Sequence[Preprocess]
    arrays: Sequence[NDArray[np.uint8]]
    image: Image.Image | None = None

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return preprocess(self.image, self.specs[index]) if index and self.image else self.arrays[index]


class ImageReader:
    """Decodes images, once each, and makes their crops by ``specs``.

    Of several crops only the first is made, and the decoded image kept for the others: up to ``WAITING`` bytes in all,
    beyond which all crops are made at once, and so are those of images that are decoded in a process.
    """

    def __init__(self, specs: Sequence[Preprocess], limits: Limits) -> None:
        self._specs, self._limits = specs, limits
        self._free, self._lock = WAITING, threading.Lock()

    def read(self, data: bytes) -> Crops:
        """Decode an image in this thread. Raises ImageError."""
        if len(self._specs) == 1:
            return Crops(self._specs, decode_crops(data, self._specs, "transpose", False, self._limits)[0])
        image = open_image(data, exif="transpose", alpha=self._specs[0].alpha, limits=self._limits)
        first = preprocess(image, self._specs[0])
        if self._reserve(PIXEL_BYTES * image.width * image.height):
            return Crops(self._specs, (first,), image)
        return Crops(self._specs, (first, *(preprocess(image, spec) for spec in self._specs[1:])))

    def read_in_process(self, data: bytes) -> Crops:
        """Decode an image in a process; see ``decode_in_process``."""
        return Crops(self._specs, decode_in_process(data, self._specs, "transpose", False, self._limits)[0])

    def release(self, crops: Crops) -> None:
        """Drop the decoded image, if one was kept."""
        if image := crops.image:
            crops.image = None
            self._reserve(-PIXEL_BYTES * image.width * image.height)

    def _reserve(self, size: int) -> bool:
        with self._lock:
            fits = size <= self._free
            self._free -= size if fits else 0
        return fits
