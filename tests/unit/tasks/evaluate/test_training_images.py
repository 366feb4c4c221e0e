"""Images that a model was trained on are known by its card and its run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fakes import calibrated_bundle, tiny_bundle, tiny_cascade, tiny_members, write_hub
from wideresnet.bundle import Bundle, read_bundle, write_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.parquet import ParquetRow
from wideresnet.datasets.tar import TarMember
from wideresnet.datasets.train_val_split import to_index
from wideresnet.engines import open_engine
from wideresnet.errors import DataError
from wideresnet.records import EvalReport, InferenceSettings, Item, follow
from wideresnet.tasks.evaluate.comparison import compare_models
from wideresnet.tasks.evaluate.evaluate import empty_report
from wideresnet.tasks.evaluate.model import evaluate
from wideresnet.tasks.evaluate.training_images import (
    calibration_warning,
    choosing_images,
    run_indices,
    training_images,
    training_warning,
    with_warnings,
)
from wideresnet.tasks.load.load import load
from wideresnet.tasks.quantize.calibration_data import without_training_images


@pytest.fixture
def data(tmp_path: Path) -> tuple[LabelledData, LabelledData]:
    """Ten training and five validation images."""
    items = []
    for k in range(15):
        path = tmp_path / "data" / f"{k % 2}" / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, 0, 0)).save(path)
        items.append(Item(str(path), path, k % 2))
    return LabelledData("train", items[:10], 10), LabelledData("val", items[10:], 10)


@pytest.fixture
def model(data: tuple[LabelledData, LabelledData], tmp_path: Path) -> Bundle:
    """A bundle in the run folder of a fine-tuning."""
    run, bundle = tmp_path / "run", tiny_bundle()
    hashes = {"train": data[0].sha256, "val": data[1].sha256}
    notes = {f"{part} data hash": sha256 for part, sha256 in hashes.items()}
    write_bundle(run / "bundle", replace(bundle, card=replace(bundle.card, notes=notes)))
    (run / "run.json").write_text(json.dumps(hashes))
    for part in data:
        (run / f"{part.name}.csv").write_text(to_index(part, bundle.labels))
    return read_bundle(run / "bundle")


def test_a_bundle_in_its_run_folder_has_both_indices(model: Bundle, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_indices(model) == (run / "train.csv", run / "val.csv")
    assert run_indices(replace(model, folder=tmp_path / "elsewhere")) is None
    assert run_indices(replace(model, card=tiny_bundle().card)) is None
    for text in ('{"train": "another", "val": "run"}', "[]", "no JSON"):
        (run / "run.json").write_text(text)
        assert run_indices(model) is None


def test_the_training_set_is_known_by_its_hash_and_its_images_by_their_paths(
    model: Bundle, data: tuple[LabelledData, LabelledData]
) -> None:
    train, val = data
    moved = replace(model, folder=None)
    assert training_images(moved, train.items) == training_images(model, train.items) == train.items
    assert training_images(model, [*val.items, *train.items[:3]]) == train.items[:3]
    assert training_images(model, val.items) == training_images(moved, train.items[:3]) == []
    assert choosing_images(model, val.items) == [], "of a probe"
    model.card.notes["fine-tuned"] = "full, from another"
    assert choosing_images(model, [*train.items, *val.items[2:]]) == val.items[2:]
    assert choosing_images(moved, val.items) == val.items
    (warning,) = training_warning(moved, val.items)
    assert f"{len(val.items)} of the {len(val.items)} images chose the epoch of" in warning


def test_images_in_archives_are_known_by_the_paths_of_these(model: Bundle, tmp_path: Path) -> None:
    """Those in a Parquet file may have names that images of another one have, too."""
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    archive = tmp_path / "data" / "a.tar"
    write_hub(tmp_path / "data" / "a.parquet", {"bytes": [b""], "label": [0]}, ("cat",))
    sources = [TarMember(str(archive), offset, 1) for offset in (512, 1536)]
    train, other = (Item(f"{archive}/{k}.png", source, k) for k, source in enumerate(sources))
    row = Item("1.png", ParquetRow(str(tmp_path / "data" / "a.parquet"), 0, 0), 0)
    (tmp_path / "run" / "train.csv").write_text(to_index(LabelledData("train", [train, row], 10), model.labels))
    assert training_images(model, [other, train, row]) == [train]


def test_accuracy_on_training_images_is_called_that(model: Bundle, data: tuple[LabelledData, LabelledData]) -> None:
    classifier, (train, val) = load(str(model.folder)), data
    report = evaluate(classifier, LabelledData("both", [*val.items, *train.items], 10))
    assert report.warnings[0].startswith("wrn_10_1.tiny was trained on 10 of the 15 images")
    assert training_warning(model, val.items) == ()


def test_photographs_that_are_not_stored_upright_are_told(tmp_path: Path) -> None:
    """In files and in bytes, as from a tar archive; what is no image is passed over."""
    exif, bundle = Image.Exif(), tiny_bundle()
    exif[0x0112] = 6
    for name, options in {"a.jpg": {"exif": exif}, "b.jpg": {}, "c.png": {}, "f.webp": {"exif": exif}}.items():
        Image.new("RGB", (8, 8)).save(tmp_path / name, **options)
    (tmp_path / "d.jpg").write_bytes(b"\xff\xd8\xff\xe1")
    turned = (tmp_path / "a.jpg").read_bytes()
    paths = [*sorted(tmp_path.glob("*.*")), tmp_path / "gone.jpg"]
    data = LabelledData("photos", [*(Item(str(path), path, 0) for path in paths), Item("e", turned, 1)], 10)
    blank = EvalReport("tiny", "photos", None, 0, 0, 0)
    (warning,) = with_warnings(blank, bundle, data).notes
    assert warning.startswith("3 of 7 images that were looked at are not stored upright: their EXIF orientation is ign")
    assert with_warnings(blank, bundle, replace(data, exif="transpose")).notes == ()


def test_training_images_are_left_out_of_a_gate(model: Bundle, data: tuple[LabelledData, LabelledData]) -> None:
    train, val = data
    items, notes = without_training_images(model, [*val.items, *train.items])
    assert items == val.items
    assert notes == ("10 of 15 gate images were left out: wrn_10_1.tiny was trained on them",)
    with pytest.raises(DataError, match="trained on all 10 images of the gate") as error:
        without_training_images(model, train.items)
    assert str(model.folder.parent / "val.csv") in error.value.hint        # type: ignore[union-attr]
    unlabelled = [replace(item, label=None) for item in train.items]
    assert without_training_images(model, unlabelled) == (unlabelled, ())


def test_coverage_on_calibration_images_is_called_optimistic(data: tuple[LabelledData, LabelledData]) -> None:
    train, val = data
    bundle = calibrated_bundle(tiny_bundle())
    assert bundle.card.uncertainty is not None
    card = replace(bundle.card, uncertainty=replace(bundle.card.uncertainty, n_fit=3, data_sha256=train.sha256))
    sentence = (
        "6 of the 10 images of train calibrated wrn_10_1.tiny: "
        "coverage and calibration error on them are slightly optimistic"
    )
    assert calibration_warning(card, train) == calibration_warning(card, train.take_part("1/2")) == (sentence,)
    assert calibration_warning(card, val) == calibration_warning(tiny_bundle().card, train) == ()
    model = Classifier(card, bundle.labels, open_engine(bundle))
    assert evaluate(model, train, 1).warnings == (sentence,)
    assert sentence not in evaluate(model, val, 1).warnings
    info = model.engine.info                       # as for the answers of a cluster
    assert empty_report(card, bundle.labels, info, train).notes == (sentence,)
    assert "bf16" in empty_report(card, bundle.labels, replace(info, precision="bf16"), val).notes[0]


def test_a_cascade_on_the_images_that_chose_its_rule_is_called_optimistic(
    data: tuple[LabelledData, LabelledData]
) -> None:
    train, val = data
    card = tiny_cascade().card
    assert card.cascade
    card = replace(card, cascade=replace(card.cascade, n_choice=5, data_sha256=train.sha256))
    sentence = f"5 of the 10 images of train chose the rule of {card.name}: its accuracy is slightly optimistic"
    assert calibration_warning(card, train) == calibration_warning(card, train.take_part("1/2")) == (sentence,)
    assert calibration_warning(card, val) == ()


def test_a_cascade_knows_the_training_images_of_its_members(data: tuple[LabelledData, LabelledData]) -> None:
    (train, val), (first, last) = data, tiny_members("one crop")
    trained = replace(first, card=replace(first.card, notes={"train data hash": train.sha256}))
    cascade = tiny_cascade(trained, last)
    assert training_warning(cascade, train.items)[0].startswith("wrn_16_2.tiny-cascade was trained on 10 of the 10")
    assert training_warning(cascade, val.items) == training_warning(tiny_cascade(), train.items) == ()


def test_a_comparison_keeps_what_is_said_of_each_model(data: tuple[LabelledData, LabelledData]) -> None:
    train, cascade = data[0], tiny_cascade()
    assert cascade.card.cascade
    card = replace(cascade.card, cascade=replace(cascade.card.cascade, n_choice=5, data_sha256=train.sha256))
    bundles = tiny_members("one crop")[1], replace(cascade, card=card)
    report = follow(compare_models(("a", "b"), bundles, train, InferenceSettings(batch_size=5))).report
    assert (report.a.notes, report.b.notes) == ((), calibration_warning(card, train))
