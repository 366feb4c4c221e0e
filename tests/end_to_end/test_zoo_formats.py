"""The model zoo's files and switches on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Wrn
from fakes import tiny_images
from wideresnet.bundle import read_bundle
from wideresnet.images.preprocess import preprocess
from wideresnet.tasks.load.load import open_classifier
from wideresnet.tasks.zoo.outputs import zoo_transform
from wideresnet.tasks.zoo.results import read_results


@pytest.fixture
def val(tmp_path: Path) -> Path:
    """*/*.JPEG of noise, one of them unreadable."""
    for number, pixels in enumerate(tiny_images(4, 50)):
        file = tmp_path / "val" / ("cat", "dog")[number % 2] / f"ILSVRC2012_val_{number:08}.JPEG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[: 30 + number]).save(file, quality=95)
    (tmp_path / "val" / "dog" / "ILSVRC2012_val_00000009.JPEG").write_bytes(b"no image")
    return tmp_path / "val"


def test_results_are_written_as_the_zoo_writes_them_and_replaced_by_the_next_run(
    wrn: Wrn, tiny: Path, val: Path
) -> None:
    done = wrn("classify", val, "-m", tiny, "--format", "zoo")
    lines = done.out.splitlines()
    assert (done.code, len(lines)) == (1, 4 * 5)
    documents = [each for each in wrn("classify", val, "-m", tiny, "--format", "json").json if "error" not in each]
    best = documents[0]["predictions"][0]
    assert lines[0] == (
        f"{documents[0]['path']}: Relay top-0 id: {best['index']}, prob: {best['probability']:.8f},"
        f" class name: {best['label']}"
    )
    for _ in range(2):
        assert wrn("classify", val, "-m", tiny, "--format", "zoo", "-o", "result.txt").code == 1
        assert Path("result.txt").read_text() == done.out
    resumed = wrn("classify", val, "-m", tiny, "--format", "zoo", "-o", "result.txt", "--resume")
    assert (resumed.code, "nothing is left to do" in resumed.err) == (0, True)
    answers = read_results(Path("result.txt")).answers
    for each in documents:
        assert [index for index, _ in answers[each["path"]]] == [one["index"] for one in each["predictions"]]


def test_k_is_the_number_of_lines(wrn: Wrn, tiny: Path, val: Path) -> None:
    assert len(wrn("classify", val, "-m", tiny, "-k", "2", "--format", "zoo").out.splitlines()) == 4 * 2


def test_both_infer_modes_answer_the_same(wrn: Wrn, tiny: Path, val: Path) -> None:
    sync, other, plain = (
        wrn("classify", val, "-m", tiny, "--batch-size", "2", "--format", "json", *more).json
        for more in (["--infer-mode", "sync"], ["--infer-mode", "async"], [])
    )
    assert sync == other == plain


def test_the_zoos_transform_is_shown_to_the_network(wrn: Wrn, tiny: Path, val: Path) -> None:
    image = sorted(val.glob("*/*.JPEG"))[0]
    shown = wrn("classify", image, "-m", tiny, "--transform", "zoo", "--ignore-exif", "--format", "json").json
    bundle = zoo_transform(read_bundle(tiny))
    crop = preprocess(np.asarray(Image.open(image)), bundle.card.preprocess)
    logits = open_classifier(bundle).logits(crop[None])[0]
    assert [one["index"] for one in shown[0]["predictions"]] == np.argsort(-logits, kind="stable")[:5].tolist()
    assert shown != wrn("classify", image, "-m", tiny, "--ignore-exif", "--format", "json").json
