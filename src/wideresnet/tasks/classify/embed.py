"""Images to features, as a stream: memory for a few batches, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import with_alpha
from wideresnet.classifier import ImageInput
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import ImageError, check_choice
from wideresnet.images.loader import load_batches, named_item
from wideresnet.records import Alpha, Embedding, Exif, Failure, Item, Preprocess
from wideresnet.tasks.load.load import ModelChoice, load_with_warnings
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

Pool = Literal["none", "mean"]
Found = TypeVar("Found")


def embed(
    images: Sequence[ImageInput] | ImageInput,
    model: str | Path = DEFAULT_MODEL,
    *,
    layers: Sequence[str] = ("features",),
    pool: Pool = "none",
    engine: str = "openvino",
    exif: Exif = "transpose",
    alpha: Alpha | None = None,
) -> dict[str, NDArray[np.float32]]:
    """What a network computes of images, by layer: float32 [N, C, H, W], or [N, C] of features and where pooled.

    ``layers`` are names of ``graph.outputs``: "features" (what the classifier reads), "map", "layer1", "layer2", …;
    ``pool`` "mean" averages maps over their positions. An image is a file, its bytes, or RGB uint8 [H, W, 3];
    ``alpha``: see ``load``. Raises ImageError at the first that cannot be read, ConfigError for a layer that the
    network has not.
    """
    check_choice("pool", pool, get_args(Pool))
    bundle = with_alpha(load_with_warnings(ModelChoice(str(model))), alpha)
    features, spec = open_features(bundle, layers, engine), bundle.card.preprocess
    found = refuse_failures(embeddings(features, spec, named_items(images), pool=pool, exif=exif))
    rows = [each.values for each in found]
    shapes = row_shapes(features, spec, pool)
    return {
        name: np.stack([row[name] for row in rows]) if rows else np.empty((0, *shape), np.float32)
        for name, shape in shapes.items()
    }


def embeddings(
    features: Features,
    spec: Preprocess,
    items: Iterable[Item],
    *,
    pool: Pool = "none",
    batch_size: int = 8,
    exif: Exif = "transpose",
) -> Iterator[Embedding | Failure]:
    """The features or a failure of each item, in the order of the items."""
    threads = features.engine.info.threads
    batches, ahead = tee(load_batches(items, spec, batch_size=batch_size, threads=threads, exif=exif))
    for batch, outputs in zip(batches, features.stream(each.pixels for each in ahead), strict=True):
        values = {name: _pooled(outputs[name], pool) for name in features.names}
        rows = ({name: value[place] for name, value in values.items()} for place in range(len(batch.items)))
        yield from batch.in_order(
            [Embedding(item.path, row) for item, row in zip(batch.items, rows, strict=True)]
        )


def row_shapes(features: Features, spec: Preprocess, pool: Pool) -> dict[str, tuple[int, ...]]:
    """Layer -> the shape of its features for one image."""
    outputs = features(np.zeros((1, spec.crop, spec.crop, 3), np.uint8))
    return {name: _pooled(outputs[name], pool).shape[1:] for name in features.names}


def named_items(images: Sequence[ImageInput] | ImageInput) -> list[Item]:
    """Images of a caller's own as items: files by their path, the others by their number."""
    if isinstance(images, str | Path | bytes | np.ndarray):
        images = [images]
    return [
        named_item(Path(each)) if isinstance(each, str | Path) else Item(f"image {index}", each)
        for index, each in enumerate(images)
    ]


def refuse_failures(found: Iterable[Found | Failure]) -> Iterator[Found]:
    """The same without failures: raises ImageError at the first."""
    for each in found:
        if isinstance(each, Failure):
            raise ImageError(f"{each.path}: {each.error}", each.hint)
        yield each


def _pooled(values: NDArray[np.float32], pool: Pool) -> NDArray[np.float32]:
    """[N, C, H, W] -> [N, C] where pooled; features are that already."""
    mean: NDArray[np.float32] = values.mean((2, 3)) if pool == "mean" and values.ndim == 4 else values
    return mean
