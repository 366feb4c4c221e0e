"""Features of images: in order, a failure for each bad one, and the same however they are cut into batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wideresnet
from fakes import tiny_bundle, tiny_images
from wideresnet.bundle import write_bundle
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import ConfigError, ImageError
from wideresnet.records import Embedding, Failure, InferenceSettings, Item
from wideresnet.tasks.classify.embed import embed, embeddings, row_shapes

SPEC = tiny_bundle().card.preprocess


@pytest.fixture(scope="module")
def features() -> Features:
    return open_features(tiny_bundle(), ["layer2", "features"])


def items(count: int, bad: tuple[int, ...] = ()) -> list[Item]:
    images = tiny_images(count, 32)
    return [Item(f"{i:03}", b"no image" if i in bad else images[i]) for i in range(count)]


def test_rows_come_in_the_order_of_the_images_with_failures_between(features: Features) -> None:
    found = list(embeddings(features, SPEC, items(10, bad=(0, 1, 2, 6)), InferenceSettings(batch_size=3)))
    assert [each.path for each in found] == [f"{i:03}" for i in range(10)]
    assert [i for i, each in enumerate(found) if isinstance(each, Failure)] == [0, 1, 2, 6]
    expected = features(tiny_images(10, 32))
    for place, each in enumerate(found):
        if isinstance(each, Embedding):
            for layer in ("layer2", "features"):
                np.testing.assert_allclose(each.values[layer], expected[layer][place], atol=1e-5)


def test_pooling_is_the_mean_over_positions_and_leaves_features_alone(features: Features) -> None:
    maps = list(embeddings(features, SPEC, items(3)))
    means = list(embeddings(features, SPEC, items(3), pool="mean"))
    for one, other in zip(maps, means, strict=True):
        assert isinstance(one, Embedding)
        assert isinstance(other, Embedding)
        assert other.values["layer2"].dtype == np.float32
        np.testing.assert_allclose(other.values["layer2"], one.values["layer2"].mean((1, 2)), atol=1e-5)
        np.testing.assert_allclose(other.values["features"], one.values["features"], atol=1e-5)
    assert row_shapes(features, SPEC, "none") == {"layer2": (32, 16, 16), "features": (64,)}
    assert row_shapes(features, SPEC, "mean") == {"layer2": (32,), "features": (64,)}


def test_few_images_are_in_memory_at_a_time(features: Features) -> None:
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield Item(str(pulled), tiny_images(1, 32)[0])

    stream = embeddings(features, SPEC, endless(), InferenceSettings(batch_size=2))
    for _ in range(20):
        next(stream)
    stream.close()
    assert pulled <= 20 + 2 * 2 * 8                # batches in flight, and those being decoded


def test_the_function_gives_arrays_by_layer(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    images = list(tiny_images(3, 32))
    found = embed(images, tmp_path / "tiny", layers=["layer3", "features"])
    assert {layer: (values.shape, values.dtype) for layer, values in found.items()} == {
        "layer3": ((3, 64, 8, 8), np.float32), "features": ((3, 64), np.float32),
    }  # fmt: skip
    assert embed(images, tmp_path / "tiny", layers=["layer3", "features", "layer3"]).keys() == found.keys()
    assert wideresnet.load(tmp_path / "tiny").features(["map", "map"]).names == ("map",)
    assert embed([], tmp_path / "tiny")["features"].shape == (0, 64)
    with pytest.raises(ImageError, match="image 1: not an image"):
        embed([images[0], b"no image"], tmp_path / "tiny")
    with pytest.raises(ConfigError, match="no layer called 'layer9'"):
        embed(images, tmp_path / "tiny", layers=["layer9"])
