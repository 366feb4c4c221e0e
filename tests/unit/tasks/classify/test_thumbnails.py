"""Images for pages: what the network saw, and nothing of what cannot be read."""

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


def decoded(data: bytes, kind: str = "JPEG") -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data))
    assert image.format == kind
    return np.asarray(image)


def test_the_images_of_the_page_are_those_of_the_mistakes() -> None:
    items = {f"{k}": Item(f"{k}", ENGINE.image(k), k) for k in range(10)}
    answers = [Scored(f"{k}", k, 2, 2, (0, k), (0.9, 0.1)) for k in range(8)]
    conditions = Conditions("", "", "fp32", Preprocess(32, 32), "ignore", "", 10, read_labels("cifar10"), 10)
    report = accumulate(answers, EvalReport("m", "d", None, 0, 0, 0, conditions=conditions))
    found = thumbnails(report, items)
    assert set(found) == set(shown_paths(report)) == {f"{k}" for k in range(8)}
    for path, png in found.items():
        assert abs(decoded(png, "PNG").mean() - ENGINE.image(int(path)).mean()) < 3


def test_tiny_crops_keep_their_pixels() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = decoded(thumbnails_of(["a"], {"a": Item("a", crop)}, Preprocess(32, 32))["a"], "PNG")
    np.testing.assert_array_equal(found, crop)


def test_a_page_holds_the_first_images_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    crop = np.zeros((32, 32, 3), np.uint8)
    items = {name: Item(name, crop) for name in "abc"}
    (size,) = {len(image) for image in thumbnails_of("abc", items, Preprocess(32, 32)).values()}
    monkeypatch.setattr("wideresnet.tasks.classify.thumbnails.MAX_BYTES", 2 * size)
    assert list(thumbnails_of("abc", items, Preprocess(32, 32))) == ["a", "b"]


@pytest.mark.parametrize(("spec", "side"), [(Preprocess(512, 480), 448), (Preprocess(128, 112), 112), (None, 448)])
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
