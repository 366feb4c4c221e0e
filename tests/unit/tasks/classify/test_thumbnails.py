"""Small images for pages: what the network saw, and nothing of what cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fakes import FakeEngine
from wideresnet.datasets.labels import read_labels
from wideresnet.records import Conditions, EvalReport, Item, Preprocess, Scored
from wideresnet.report.html.evaluation import shown_paths
from wideresnet.tasks.classify.thumbnails import thumbnails, thumbnails_of
from wideresnet.tasks.evaluate.metrics import accumulate

ENGINE = FakeEngine()


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return np.asarray(image)


def test_the_images_of_the_page_are_those_of_the_mistakes() -> None:
    items = {f"{k}": Item(f"{k}", ENGINE.image(k), k) for k in range(10)}
    answers = [Scored(f"{k}", k, 2, 2, (0, k), (0.9, 0.1)) for k in range(8)]
    conditions = Conditions("", "", "fp32", Preprocess(32, 32), "ignore", "", 10, read_labels("cifar10"), 10)
    report = accumulate(answers, EvalReport("m", "d", None, 0, 0, 0, conditions=conditions))
    found = thumbnails(report, items)
    assert set(found) == set(shown_paths(report)) == {f"{k}" for k in range(8)}
    for path, jpeg in found.items():
        assert abs(decoded(jpeg).mean() - ENGINE.image(int(path)).mean()) < 3


def test_tiny_crops_keep_their_pixels_as_squares() -> None:
    left, right = np.zeros((32, 16, 3), np.uint8), np.full((32, 16, 3), 255, np.uint8)
    crop = np.concatenate([left, right], axis=1)
    found = decoded(thumbnails_of(["a"], {"a": Item("a", crop)}, Preprocess(32, 32))["a"])
    assert found.shape == (160, 160, 3)
    assert found[:, :78].max() < 40
    assert found[:, 82:].min() > 215


@pytest.mark.parametrize(("spec", "side"), [(Preprocess(256, 224), 160), (Preprocess(128, 112), 112), (None, 160)])
def test_files_are_shown_as_the_network_saw_them_or_by_their_middle(
    spec: Preprocess | None, side: int, tmp_path: Path
) -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = (200, 100, 50)
    Image.fromarray(image).save(tmp_path / "a.png")
    found = decoded(thumbnails_of([f"{tmp_path}/a.png"], None, spec)[f"{tmp_path}/a.png"])
    assert found.shape == (side, side, 3)
    assert np.abs(found.reshape(-1, 3).mean(axis=0) - (200, 100, 50)).max() < 6


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    paths = [f"{tmp_path}/{name}" for name in ("torn.png", "gone.png", "good.png")]
    assert list(thumbnails_of(paths, {}, Preprocess(32, 32))) == [f"{tmp_path}/good.png"]
    assert thumbnails_of(["test_batch/00017"], None, None) == {}
