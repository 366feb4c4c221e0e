"""The crops of an image by several preprocessings: the first at once, the others where they are needed.

Later members of a cascade need the crops of few images. So an image is decoded once and kept, until the members before
have answered it or another crop is made.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import check_choice
from wideresnet.images.decode import Limits
from wideresnet.images.isolated import decode_crops, decode_in_process, is_slow, open_for_crops
from wideresnet.images.preprocess import preprocess
from wideresnet.images.workload import workload
from wideresnet.records import Exif, Preprocess

MAX_DECODED_BYTES = 2**26                          # of the decoded images that one reader keeps, at most
PIXEL_BYTES = 4                                    # of RGB in Pillow


@dataclass(eq=False)
class Crops:
    """The crops of one image, RGB uint8 [S, S, 3] by each of ``specs``, of which the first ``arrays`` are there.

    ``size``: width and height of the upright image. The other crops are made from the decoded ``image``; ``reduced``:
    see ``preprocess``.
    """

    specs: Sequence[Preprocess]
    arrays: Sequence[NDArray[np.uint8]]
    size: tuple[int, int]
    image: Image.Image | NDArray[np.uint8] | None = None
    reduced: bool = False

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if index >= len(self.arrays) and self.image is not None:
            return preprocess(self.image, self.specs[index], reduced=self.reduced)
        return self.arrays[index]


class ImageReader:
    """Decodes images, once each, and makes their crops by ``specs``; see ``loader.load_crop`` for the arguments.

    Of several crops only the first is made, and the decoded image kept for the others: up to ``MAX_DECODED_BYTES`` in
    all, beyond which all crops are made at once, and so are those of images that are decoded in a process. Threads may
    share a reader. Raises ConfigError for another ``exif``.
    """

    def __init__(
        self, specs: Sequence[Preprocess], limits: Limits, exif: Exif = "transpose", *, reduced: bool = False
    ) -> None:
        check_choice("way to treat EXIF", exif, get_args(Exif))
        self.specs, self.limits, self._exif, self._reduced = specs, limits, exif, reduced
        self._free, self._lock = MAX_DECODED_BYTES, threading.Lock()

    def read(self, data: bytes) -> Crops:
        """Decode an image in this thread. Raises ImageError."""
        if len(self.specs) == 1:
            return Crops(self.specs, *decode_crops(data, self.specs, self._exif, self._reduced, self.limits))
        return self.crop(*open_for_crops(data, self.specs, self._exif, self._reduced, self.limits))

    def read_in_process(self, data: bytes) -> Crops:
        """Decode an image in a process; see ``decode_in_process``."""
        return Crops(self.specs, *decode_in_process(data, self.specs, self._exif, self._reduced, self.limits))

    def read_anywhere(self, data: bytes) -> Crops:
        """Decode an image in this thread, or in a process where that may take long. Raises ImageError."""
        return self.read_in_process(data) if is_slow(workload(data), self.limits) else self.read(data)

    def crop(self, image: Image.Image | NDArray[np.uint8], reduced: bool = False) -> Crops:
        """Make the first crop of a decoded image, and the others unless it is kept. Raises ImageError."""
        crop = preprocess(image, self.specs[0], reduced=reduced)       # checks the shape of arrays
        size = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
        first = Crops(self.specs, (crop,), size, image, reduced)
        if len(self.specs) > 1 and self._reserve(_bytes(image)):
            return first
        return Crops(self.specs, tuple(first[index] for index in range(len(self.specs))), size)

    def release(self, crops: Crops) -> None:
        """Drop the decoded image, if one was kept."""
        if (image := crops.image) is not None:
            crops.image = None
            self._reserve(-_bytes(image))

    def _reserve(self, size: int) -> bool:
        with self._lock:
            fits = size <= self._free
            self._free -= size if fits else 0
        return fits


@dataclass(eq=False)
class LaterCrops:
    """The crops [S, S, 3] of a batch by preprocessing ``index`` of ``reader``, by row: made when they are read."""

    reader: ImageReader
    images: Sequence[Crops]
    index: int

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        return self.images[row][self.index]

    @property
    def nbytes(self) -> int:
        """The bytes of all these crops."""
        return len(self.images) * 3 * self.reader.specs[self.index].crop ** 2

    def release(self, row: int) -> None:
        """Drop the decoded image of a row, of which no further crop will be read."""
        self.reader.release(self.images[row])


def _bytes(image: Image.Image | NDArray[np.uint8]) -> int:
    return PIXEL_BYTES * image.width * image.height if isinstance(image, Image.Image) else image.nbytes
