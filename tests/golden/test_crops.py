"""What the network sees is torchvision's crop, to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared import SHARED, needs_shared
from wideresnet.images.decode import decode
from wideresnet.images.loader import load_crop
from wideresnet.images.preprocess import preprocess
from wideresnet.records import Preprocess

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
RECORD = json.loads((HERE / "crops.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def crops():
    with np.load(HERE / "crops.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("name", RECORD["pictures"])
def test_every_fixture_gives_the_stored_crops(crops, name):
    """Grey, alpha, palette, CMYK, 16 bits, EXIF, animation, WebP, TIFF...: equal to the byte."""
    transforms = [key.split("/")[0] for key in crops if key.endswith(f"/{name}")]
    assert transforms
    for transform in transforms:
        spec = Preprocess(**RECORD["transforms"][transform])
        np.testing.assert_array_equal(
            preprocess(decode(FIXTURES / name), spec), crops[f"{transform}/{name}"], err_msg=transform
        )


@pytest.mark.parametrize("name", RECORD["pictures"])
def test_the_short_way_equals_the_two_steps(name):
    """``load_crop`` gives what ``preprocess`` of ``decode`` gives, whatever the file and the turn."""
    spec = Preprocess(resize=36, crop=32)
    for exif in ("ignore", "transpose"):
        np.testing.assert_array_equal(
            load_crop(FIXTURES / name, spec, exif=exif), preprocess(decode(FIXTURES / name, exif=exif), spec)
        )


def test_every_fixture_has_the_stored_size():
    """EXIF is ignored unless asked for, the first frame counts."""
    sizes = {path.name: list(decode(path).shape[1::-1]) for path in FIXTURES.iterdir()}
    assert sizes == RECORD["pictures"]


@needs_shared("oracle", "crops.npz")
def test_crops_equal_torchvision():
    """All of torchvision's own crops, five transforms of 27 images."""
    described = json.loads((SHARED / "oracle" / "crops.json").read_text(encoding="utf-8"))
    different = []
    with np.load(SHARED / "oracle" / "crops.npz") as oracle:
        for key in oracle.files:
            transform, image = key.split("/", 1)
            ours = load_crop(
                SHARED / "pictures" / "good" / image, _spec(described["transforms"][transform])
            )
            if not np.array_equal(ours, oracle[key]):
                different.append(key)
        assert len(oracle.files) == 5 * 27
    assert different == []


def _spec(transform: dict) -> Preprocess:
    resize, squash = transform["resize"], isinstance(transform["resize"], list)
    return Preprocess(
        resize=resize[0] if squash else resize,
        crop=transform["crop"],
        interpolation=transform["interpolation"],
        mode="squash" if squash else "shortest",
    )
