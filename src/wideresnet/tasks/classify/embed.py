"""Images to features, as a stream: memory for a few batches, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, with_alpha
from wideresnet.classifier import Classifier, crop_items
from wideresnet.datasets.inputs import ImageInputs
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import ConfigError, ImageError, check_choice
from wideresnet.images.loader import load_batches
from wideresnet.records import DEFAULT_INFERENCE, Alpha, Embedding, Exif, Failure, InferenceSettings, Item, Preprocess
from wideresnet.tasks.load.load import bundle_of
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

Pool = Literal["none", "mean"]
Answer = TypeVar("Answer")


def embed(
    images: ImageInputs, model: Classifier | str | Path = DEFAULT_MODEL, *, layers: Sequence[str] = ("features",),
    pool: Pool = "none", engine: str | None = None, exif: Exif = "transpose", alpha: Alpha | None = None,
    batch_size: int = 8,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Return intermediate features of N images by layer: float32 [N, C, H, W], or [N, C] for "features" and pooled.

    ``layers`` are "features" (the input of the linear layer), "map" (the last feature map), "layer1", "layer2", …;
    ``pool`` "mean" averages maps over their positions. ``batch_size`` images are computed at once. ``images`` and
    crops: see ``Classifier``. ``model`` is an open classifier or a name as for ``load``; ``engine`` (default openvino)
    and ``alpha``, see ``load``, are for a name.

    Raises ImageError at the first image that cannot be read, ConfigError for a layer that the network does not have.
    """
    check_choice("pool", pool, get_args(Pool))
    layers = list(dict.fromkeys([layers] if isinstance(layers, str) else layers))
    if not layers:
        raise ConfigError("no layers to read features from", hint="name some, such as 'features' or 'layer3'")
    if pool != "none" and layers == ["features"]:
        raise ConfigError(f"pool {pool!r} has no effect on features, which have no positions", hint="leave out pool")
    bundle, features = open_layers(model, bundle_of(model, headless=True), layers, engine, alpha)
    items, spec = crop_items(images, bundle.card.preprocess, exif)
    settings = InferenceSettings(batch_size=batch_size, exif=exif)
    rows = [answer.values for answer in raise_failures(embeddings(features, spec, items, settings, pool=pool))]
    shapes = row_shapes(features, spec, pool)
    return {
        name: np.stack([row[name] for row in rows]) if rows else np.empty((0, *shape), np.float32)
        for name, shape in shapes.items()
    }


def embeddings(
    features: Features,
    spec: Preprocess,
    items: Iterable[Item],
    settings: InferenceSettings = DEFAULT_INFERENCE,
    *,
    pool: Pool = "none",
) -> Iterator[Embedding | Failure]:
    """Yield the features or a failure of each item, in the order of the items."""
    threads = features.engine.info.threads
    batches = load_batches(items, spec, batch_size=settings.batch_size, threads=threads, exif=settings.exif)
    for batch, outputs in features.stream_batches(batches):
        values = {name: _pooled(outputs[name], pool) for name in features.names}
        rows = ({name: value[index] for name, value in values.items()} for index in range(len(batch.items)))
        yield from batch.in_order([Embedding(item.path, row) for item, row in zip(batch.items, rows, strict=True)])


def row_shapes(features: Features, spec: Preprocess, pool: Pool) -> dict[str, tuple[int, ...]]:
    """Return the shape of one image's features by layer."""
    outputs = features(np.zeros((1, spec.crop, spec.crop, 3), np.uint8))
    return {name: _pooled(outputs[name], pool).shape[1:] for name in features.names}


def open_layers(
    model: Classifier | str | Path, bundle: Bundle, layers: Sequence[str], engine: str | None, alpha: Alpha | None
) -> tuple[Bundle, Features]:
    """Return the ``bundle`` of a model with ``layers`` open; raise ConfigError for options of an open classifier."""
    if not isinstance(model, Classifier):
        bundle = with_alpha(bundle, alpha)
        return bundle, open_features(bundle, layers, engine or "openvino")
    for name, value in (("engine", engine), ("alpha", alpha)):
        if value is not None:
            raise ConfigError(f"{name} has no effect on an open classifier", hint=f"use load(…, {name}={value!r})")
    return bundle, model.features(layers)


def raise_failures(answers: Iterable[Answer | Failure]) -> Iterator[Answer]:
    """Yield the answers. Raises ImageError at the first failure."""
    for answer in answers:
        if isinstance(answer, Failure):
            raise ImageError(f"{answer.path}: {answer.error}", answer.hint)
        yield answer


def _pooled(values: NDArray[np.float32], pool: Pool) -> NDArray[np.float32]:
    """Average maps [N, C, H, W] over their positions if ``pool`` says so; [N, C] is returned as it is."""
    return values.mean((2, 3)) if pool == "mean" and values.ndim == 4 else values
