"""Evidence over a crop: where it belongs, only what speaks for the class, and large enough to see."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from wideresnet.records import ClassMap, Explanation, LabelScore
from wideresnet.report.html.overlay import draw_crop, draw_evidence, encoded


def explanation(evidence: np.ndarray, side: int = 32, stride: int = 4) -> Explanation:
    shown = ClassMap(LabelScore(3, "cat", 0.9), 2.0, 0.1, evidence.astype(np.float32), (0, 0, 2, 2))
    crop = np.full((side, side, 3), 128, np.uint8)
    return Explanation("cat.png", crop, stride, (shown,))


def drawn(evidence: np.ndarray, *, signed: bool = False, side: int = 32, stride: int = 4) -> np.ndarray:
    """uint8 [T, T, 3]."""
    record = explanation(evidence, side, stride)
    return np.asarray(draw_evidence(record, record.maps[0], signed=signed))


def spot(row: int, column: int, value: float = 1.0, places: int = 8) -> np.ndarray:
    evidence = np.zeros((places, places))
    evidence[row, column] = value
    return evidence


@pytest.mark.parametrize(("row", "column"), [(3, 5), (1, 1), (6, 2)])
def test_a_place_is_drawn_around_the_pixel_it_looks_at(row: int, column: int) -> None:
    """Place 3 of a map with stride 4 is pixel 12, whose middle is at 12.5 of 32, so 100 of 256."""
    changed = np.abs(drawn(spot(row, column)).astype(int) - 128).sum(axis=2) > 0
    rows, columns = np.nonzero(changed)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx(8 * (4 * row + 0.5), abs=1)
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx(8 * (4 * column + 0.5), abs=1)


def test_a_crop_that_the_stride_does_not_divide_is_covered() -> None:
    shown = drawn(np.ones((10, 10)), side=290, stride=32)
    assert shown.shape == (290, 290, 3)
    assert (shown == shown[0, 0]).all(), "even evidence is even to the edges"


def test_small_crops_get_larger_pixels_and_large_ones_stay() -> None:
    rng = np.random.default_rng(0)
    small = Explanation("a", rng.integers(0, 256, (32, 32, 3), np.uint8), 4, ())
    shown = np.asarray(draw_crop(small))
    assert shown.shape == (256, 256, 3)
    np.testing.assert_array_equal(shown[4::8, 4::8], small.crop)
    large = Explanation("a", rng.integers(0, 256, (288, 288, 3), np.uint8), 32, ())
    np.testing.assert_array_equal(np.asarray(draw_crop(large)), large.crop)


def test_only_what_speaks_for_the_class_is_drawn() -> None:
    both = spot(2, 2) + spot(5, 5, -1.0)
    shown = drawn(both)
    np.testing.assert_array_equal(shown, drawn(spot(2, 2)))
    signed = drawn(both, signed=True)
    red, blue = (signed[8 * 4 * place + 4, 8 * 4 * place + 4].astype(int) for place in (2, 5))
    assert red[0] > red[2] + 20
    assert blue[2] > blue[0] + 50


def test_without_any_evidence_the_crop_stays_as_it_is() -> None:
    for nothing in (np.zeros((8, 8)), np.full((8, 8), -1.0)):
        assert (drawn(nothing) == 128).all()
    assert (drawn(np.zeros((8, 8)), signed=True) == 128).all()


def test_the_strongest_place_is_the_lightest_and_each_map_has_its_own_scale() -> None:
    evidence = spot(2, 2) + spot(5, 5, 0.5)
    shown = drawn(evidence).astype(int)
    strong, weak = (shown[8 * 4 * place + 4, 8 * 4 * place + 4].sum() for place in (2, 5))
    assert strong > weak
    np.testing.assert_array_equal(drawn(evidence), drawn(1000 * evidence))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_bytes_are_a_file_of_that_kind(kind: str) -> None:
    image = draw_crop(explanation(np.zeros((8, 8))))
    found = Image.open(io.BytesIO(encoded(image, kind)))
    assert (found.format, found.size) == (kind, (256, 256))
    if kind == "PNG":
        np.testing.assert_array_equal(np.asarray(found), np.asarray(image))
