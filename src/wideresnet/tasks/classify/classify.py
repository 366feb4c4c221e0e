"""Images to answers, as a stream: memory for a few batches, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from wideresnet.classifier import Classifier
from wideresnet.datasets.shards import ShardImages, find_shards
from wideresnet.images.files import find_images
from wideresnet.images.loader import load_batches, named_item
from wideresnet.records import Exif, Failure, Item, Prediction, Skipped
from wideresnet.tasks.classify.pipeline import InferMode, infer


def classify(
    classifier: Classifier,
    items: Iterable[Item],
    *,
    k: int = 5,
    batch_size: int = 8,
    exif: Exif = "transpose",
    reduced: bool = False,
    mode: InferMode = "async",
) -> Iterator[Prediction | Failure]:
    """One answer or one failure for each item, in the order of the items.

    ``reduced``: see ``load_crop``; ``mode``: see ``infer``.
    """
    load = partial(
        load_batches, spec=classifier.card.preprocess, batch_size=batch_size, threads=classifier.engine.info.threads,
        exif=exif, reduced=reduced,
    )  # fmt: skip
    for batch, logits in infer(classifier, items, load, batch_size, mode):
        yield from batch.in_order(classifier.answer([item.path for item in batch.items], logits, k))


def folders_and_shards(paths: Iterable[Path]) -> list[Path]:
    """The folders and shards among ``paths``: what holds images, and is none itself."""
    return [path for path in paths if path.is_dir() or find_shards(path)]


class InputImages:
    """An iterable of the images in files, folders (see ``find_images``) and shards (``find_shards``), unlabelled.

    ``skipped`` counts the files that were not read in the folders and shards iterated so far. A pipe that the user
    names is read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths, self.skipped = tuple(paths), Skipped()

    def __iter__(self) -> Iterator[Item]:
        self.skipped = Skipped()
        for path in self._paths:
            if shards := find_shards(path):
                items = ShardImages(shards)
                yield from items
                self.skipped += items.skipped
                continue
            files = find_images([path])
            for file in files:
                yield named_item(file) if file == path else Item(str(file), file)
            self.skipped += files.skipped
