"""Compilation and fine-tuning calibrate with labelled images that decided nothing before, and say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from fakes import calibrated_bundle, tiny_bundle
from wideresnet.bundle import Bundle, read_bundle, write_bundle
from wideresnet.bundle.derive import DROPPED
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.open import open_labelled
from wideresnet.engines import open_engine
from wideresnet.records import CompileReport, Item, follow
from wideresnet.tasks.calibrate import automatic
from wideresnet.tasks.calibrate.automatic import calibrate_in_place, compile_calibrated
from wideresnet.tasks.calibrate.calibrate import CalibrateSettings
from wideresnet.tasks.finetune.finetune import finetune
from wideresnet.tasks.quantize import calibration_data
from wideresnet.tasks.quantize.compile import CompileSettings

COUNT = 240


@pytest.fixture(autouse=True)
def _few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse 10 % of genuine images, which takes a tenth of the images that 1 % takes."""
    monkeypatch.setattr(automatic, "CalibrateSettings", partial(CalibrateSettings, refused=0.1))
    monkeypatch.setattr(automatic, "FEWEST", 36)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in class folders, as the network answers, 24 of each class or fewer."""
    root, rng, bundle = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), tiny_bundle()
    colours = rng.integers(0, 256, (COUNT, 1, 1, 3))
    crops = np.clip(colours + rng.normal(0, 40, (COUNT, 32, 32, 3)), 0, 255).astype(np.uint8)
    answers = open_engine(bundle)(crops).argmax(1)
    answers[:100] = np.arange(100) % 10
    for index, (crop, answer) in enumerate(zip(crops, answers, strict=True)):
        folder = root / bundle.labels.names[answer]
        folder.mkdir(exist_ok=True)
        Image.fromarray(crop).save(folder / f"{index}.png")
    return root


def compiled(bundle: Bundle, data: Path | None, folder: Path) -> CompileReport:
    return follow(compile_calibrated(bundle, CompileSettings("fp16", data=data, gate=0.5), folder))


def test_a_fifth_of_the_images_calibrates_and_is_not_in_the_gate(pictures: Path, tmp_path: Path) -> None:
    report = compiled(tiny_bundle(), pictures, tmp_path / "new")
    assert report.gate is not None
    model = read_bundle(tmp_path / "new").card.uncertainty
    assert model is not None
    assert (report.gate.n, model.n_fit + model.n_scores + model.n_test) == (COUNT - COUNT // 5, COUNT // 5)
    assert report.size_bytes == len(read_bundle(tmp_path / "new").graph)
    used = f"calibrated with 24 images of {pictures.name} that decided nothing else; on 24 "
    assert report.notes[-1].startswith(used)


def test_the_fifth_and_the_gate_have_the_classes_as_often_as_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's accuracy and the sets' coverage are promised of images like all of them."""
    labels = [0] * 200 + [1] * 40 + [2] * 10
    data = LabelledData("uneven", [Item(f"{index}.png", b"", label) for index, label in enumerate(labels)], 10)
    images = calibration_data.GateImages(data, data.items, ())
    monkeypatch.setattr(calibration_data, "open_gate_images", lambda *_: images)
    gate, fifth = automatic._set_aside(tiny_bundle(), CompileSettings("fp16", data=Path("uneven")))
    assert gate is not None
    assert fifth is not None
    assert [fifth.class_counts[label] for label in range(3)] == [40, 8, 2]
    assert Counter(item.label for item in gate.items) == {0: 160, 1: 32, 2: 8}
    monkeypatch.setattr(automatic, "choosing_images", lambda _, items: items[:50])
    gate, fifth = automatic._set_aside(tiny_bundle(), CompileSettings("fp16", data=Path("uneven")))
    assert gate is not None
    assert fifth is not None
    assert (len(gate.items), len(fifth.items)) == (210, 40)
    assert not {item.path for item in fifth.items} & {item.path for item in data.items[:50]}


def test_a_calibration_is_made_anew(pictures: Path, tmp_path: Path) -> None:
    """The note that it was dropped would be wrong then, on the report and on the card."""
    report = compiled(calibrated_bundle(tiny_bundle()), pictures, tmp_path / "new")
    card = read_bundle(tmp_path / "new").card
    assert card.uncertainty is not None
    assert card.uncertainty.data == pictures.name
    assert card.uncertainty.data_sha256 == open_labelled(pictures, tiny_bundle().labels).sha256, "of the full set"
    assert DROPPED not in (*report.notes, *card.notes.values())


def test_without_labelled_images_the_command_is_named(tmp_path: Path) -> None:
    report = compiled(calibrated_bundle(tiny_bundle()), None, tmp_path / "new")
    assert read_bundle(tmp_path / "new").card.uncertainty is None
    assert report.notes[-2] == DROPPED
    assert report.notes[-1].startswith("not calibrated: that takes 180 labelled images of --data")
    assert f"wrn calibrate -m {tmp_path / 'new'} --data LABELLED" in report.notes[-1]


def test_images_that_chose_the_weights_do_not_calibrate(pictures: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle()
    sha256 = open_labelled(pictures, bundle.labels).sha256
    bundle.card.notes.update({"val data hash": sha256, "fine-tuned": "full, from another"})
    report = compiled(bundle, pictures, tmp_path / "new")
    assert report.gate is not None
    assert (report.gate.n, read_bundle(tmp_path / "new").card.uncertainty) == (COUNT, None)
    assert "which chose nothing before" in report.notes[-1]


def test_images_of_the_bank_are_not_those_to_calibrate_with(pictures: Path, tmp_path: Path) -> None:
    """The bundle stays as it was, and the note says why."""
    write_bundle(tmp_path / "model", tiny_bundle())
    data = open_labelled(pictures, tiny_bundle().labels)
    bank: Sequence[Item] = data.items[:3]
    note = follow(calibrate_in_place(tmp_path / "model", data, bank, ""))
    assert note.startswith("not calibrated: 3 of the images to calibrate with are also in the bank")
    assert read_bundle(tmp_path / "model").card.uncertainty is None


def test_copies_among_the_images_to_calibrate_with_are_in_the_note(pictures: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", tiny_bundle())
    data = open_labelled(pictures, tiny_bundle().labels)
    twice = [*data.items, *(replace(item, path=f"{item.path}b") for item in data.items)]
    note = follow(calibrate_in_place(tmp_path / "model", replace(data, items=twice), (), ""))
    assert note.startswith("calibrated with 240 images")
    assert "of the images measured are copies of others that fitted: the figures are too optimistic" in note


def test_fine_tuning_calibrates_with_its_test_set(pictures: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model", tiny_bundle())
    for index, file in enumerate(sorted(pictures.glob("*/*.png"))):
        folder = tmp_path / ("train", "test")[index % 2] / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).symlink_to(file)
    report = finetune(
        tmp_path / "train", tmp_path / "run", tmp_path / "model", test=tmp_path / "test", settings={"l2": [0.1]}
    )
    model = read_bundle(tmp_path / "run" / "bundle").card.uncertainty
    assert model is not None
    assert (model.data, model.n_fit + model.n_scores + model.n_test) == ("train test", COUNT // 2)
    assert report.notes["calibration"].startswith("calibrated with 60 images of train test that decided nothing else")
    assert wideresnet.load(tmp_path / "run" / "bundle").classify(pictures / "cat")[0].p_known is not None
    now = wideresnet.evaluate(tmp_path / "run" / "bundle", open_labelled(tmp_path / "test", report.labels))
    assert report.test is not None
    assert (report.test.nll, report.test.uncertainty) == (now.nll, now.uncertainty), "of the calibrated bundle"
    assert any("60 of the 120 images of train test calibrated" in note for note in report.test.notes)
