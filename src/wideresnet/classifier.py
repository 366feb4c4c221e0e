"""The whole flow on one screen: decode ∘ preprocess ∘ engine ∘ top_k."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.engines import Engine
from wideresnet.images.loader import load_crop
from wideresnet.logits import top_k
from wideresnet.records import Batch, Exif, Labels, ModelCard, Prediction

ImageInput = str | Path | bytes | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model that knows how it wants to see an image and what its answers are called."""

    card: ModelCard
    labels: Labels
    engine: Engine

    def classify(
        self, images: Sequence[ImageInput] | ImageInput, k: int = 5, exif: Exif = "transpose"
    ) -> list[Prediction]:
        """The k likeliest classes of each image, in the order given.

        An image is a file, its bytes, or RGB uint8 [H, W, 3]. All go through the network in one batch; for
        folders use ``tasks.classify``, which takes memory for a few batches only. Photographs are turned
        upright unless ``exif`` is "ignore". Raises ImageError at the first image that cannot be read.
        """
        if isinstance(images, str | Path | bytes | np.ndarray):
            images = [images]
        crops = [self.preprocess(image, exif) for image in images]
        names = [str(p) if isinstance(p, str | Path) else f"image {i}" for i, p in enumerate(images)]
        return self.answer(names, self.logits(np.stack(crops)), k) if crops else []

    def preprocess(self, image: ImageInput, exif: Exif = "ignore") -> NDArray[np.uint8]:
        """What the network sees of one image: RGB uint8 [S, S, 3]."""
        return load_crop(image, self.card.preprocess, exif=exif)

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 [N, S, S, 3], as ``preprocess`` makes it -> float32 [N, C]."""
        return self.engine(batch)

    def stream(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
        """Each batch with its logits, in order; the next ones are made while the engine works."""
        waiting: deque[Batch] = deque()

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for batch in batches:
                waiting.append(batch)
                yield batch.pixels

        for logits in self.engine.stream(pixels()):
            yield waiting.popleft(), logits

    def answer(self, names: Sequence[str], logits: NDArray[np.float32], k: int) -> list[Prediction]:
        """Logits [N, C] with a name each -> N predictions."""
        answers = top_k(logits, self.labels, k)
        return [Prediction(name, answer) for name, answer in zip(names, answers, strict=True)]
