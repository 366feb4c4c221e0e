"""What a network sees of an image, by the name of whatever will look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.loader import load_crop
from wideresnet.tasks.classify.preprocessing import preprocess
from wideresnet.weights.catalogue import CATALOGUE


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (260, 340, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("tag", CATALOGUE)
def test_every_tag_sees_with_its_own_transform(image: Path, tag: str) -> None:
    spec = CATALOGUE[tag].preprocess
    crop = preprocess(image, tag)
    assert (crop.dtype, crop.shape) == (np.uint8, (spec.crop, spec.crop, 3))
    assert np.array_equal(crop, load_crop(image, spec))


def test_paths_words_and_bytes_are_the_same_image(image: Path) -> None:
    crop = preprocess(image, "wide_resnet50_2.tv_in1k")
    assert np.array_equal(crop, preprocess(str(image), "wide_resnet50_2.tv_in1k"))
    assert np.array_equal(crop, preprocess(image.read_bytes(), "wide_resnet50_2.tv_in1k"))


def test_squash256_loses_the_aspect_ratio(image: Path) -> None:
    found = preprocess(image, "wide_resnet50_2.tv_in1k", transform="squash256")
    with Image.open(image) as opened:
        squashed = np.asarray(opened.resize((256, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(found, squashed[16:240, 16:240])


def test_a_bundle_and_an_architecture_see_too(image: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    assert preprocess(image, str(tmp_path / "tiny")).shape == (32, 32, 3)
    assert preprocess(image, "WRN-28-10").shape == (32, 32, 3)


def test_exif_is_applied_as_by_classify_unless_told_otherwise(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(preprocess(tmp_path / "turned.png", "wrn_28_10"), pixels[::-1, ::-1])
    assert np.array_equal(preprocess(tmp_path / "turned.png", "wrn_28_10", exif="ignore"), pixels)


def test_wrong_names_and_no_images_are_errors(image: Path) -> None:
    with pytest.raises(ConfigError, match="no transform called 'squash'") as caught:
        preprocess(image, "wrn_28_10", transform="squash")
    assert caught.value.hint == "did you mean 'squash256'?"
    with pytest.raises(ConfigError, match="no model called"):
        preprocess(image, "wide_resnet50_2.nobody")
    with pytest.raises(ImageError):
        preprocess(b"no image", "wrn_28_10")
