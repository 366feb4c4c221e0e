"""Calibration of a bundle: what is written, what is measured, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import Bundle, read_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines import open_engine
from wideresnet.errors import ConfigError, DataError, EngineError
from wideresnet.graph.calibrated import with_temperature
from wideresnet.graph.outputs import classifier_node
from wideresnet.records import CalibrateReport, Item, Skipped, UnknownMethod, follow
from wideresnet.report import calibration
from wideresnet.tasks.calibrate import calibrate as task
from wideresnet.tasks.calibrate.calibrate import (
    CalibrateSettings,
    CalibrationImages,
    calibrate,
    calibrate_bundle,
)
from wideresnet.tasks.calibrate.unknown import default_method, notes_on_bank
from wideresnet.tasks.load.load import open_classifier


@cache
def network() -> Bundle:
    return tiny_bundle()


@cache
def pixels(count: int = 480, seed: int = 0) -> np.ndarray:
    """Images of one colour with noise, to which the network gives different answers."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, 1, 1, 3))
    return np.clip(colours + rng.normal(0, 40, (count, 32, 32, 3)), 0, 255).astype(np.uint8)


@cache
def data(count: int = 480, seed: int = 0) -> LabelledData:
    """Labels drawn from the network's probabilities at a temperature of 2, and one of each class."""
    logits = open_engine(network())(pixels(count, seed)).astype(float)
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    labels = (logits / 2 + noise).argmax(1)
    labels[:10] = range(10)
    pairs = enumerate(zip(pixels(count, seed), labels.tolist(), strict=True))
    items = [Item(str(index), crop, label) for index, (crop, label) in pairs]
    return LabelledData("colours", items, 10)


def classifier_of(bundle: Bundle) -> Classifier:
    return replace(open_classifier(bundle), bundle=bundle)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CalibrateReport:
    return calibrate(classifier_of(network()), data(), tmp_path_factory.mktemp("calibrated") / "bundle")


def opened(report: CalibrateReport) -> Classifier:
    return classifier_of(read_bundle(Path(report.bundle)))


def test_the_parts_share_no_image_and_are_counted(report: CalibrateReport) -> None:
    model = report.uncertainty
    assert (model.n_fit, model.n_scores, model.n_test) == (120, 120, 240)
    assert (model.before.n, model.after.n) == (240, 240)
    assert [measured.n for measured in model.coverage] == [240] * 3
    assert all(promise.total == 240 for promise in model.selective)
    assert model.data_sha256 == data().sha256


def test_probabilities_are_better_and_answers_the_same(report: CalibrateReport) -> None:
    model = report.uncertainty
    assert 1.4 < model.temperature < 3.2
    assert model.after.nll < model.before.nll
    logits, before = (open_engine(bundle)(pixels()) for bundle in (read_bundle(Path(report.bundle)), network()))
    np.testing.assert_allclose(logits * model.temperature, before, atol=1e-3)
    assert (logits.argmax(1) == before.argmax(1)).all()


def test_new_images_are_covered_and_few_of_them_unknown(report: CalibrateReport) -> None:
    fresh = data(600, seed=1)
    answers = opened(report).classify(pixels(600, seed=1), coverage=0.9)
    names = network().labels.names
    pairs = zip(fresh.items, answers, strict=True)
    covered = sum(names[item.label or 0] in (answer.set or ()) for item, answer in pairs)
    assert 0.85 < covered / 600 < 0.96
    assert sum(answer.unknown is True for answer in answers) < 0.04 * 600


def test_images_of_another_kind_are_unknown(report: CalibrateReport) -> None:
    """Stripes have features that no image of one colour has."""
    stripes = np.zeros((20, 32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    answers = opened(report).classify(stripes)
    assert all(answer.unknown for answer in answers)
    assert answers[0].p_known == pytest.approx(1 / 121)


def test_a_calibrated_model_is_calibrated_anew_to_the_same(report: CalibrateReport, tmp_path: Path) -> None:
    again = calibrate(opened(report), data(), tmp_path / "again")
    assert again.uncertainty == report.uncertainty
    assert again.uncertainty.unknown.method == "knn"     # 120 images are too few for a covariance of 64 features
    files = ("model.onnx", "card.json")
    assert all((tmp_path / "again" / name).read_bytes() == (Path(report.bundle) / name).read_bytes() for name in files)


def test_a_test_set_of_its_own_leaves_all_images_to_fit(tmp_path: Path) -> None:
    report = calibrate(
        classifier_of(network()), data(), tmp_path / "b", test=data(100, seed=2),
        settings=CalibrateSettings("raps", per_class=True, unknown="energy"),
    )  # fmt: skip
    model = report.uncertainty
    assert (model.n_fit, model.n_scores, model.n_test, model.test) == (240, 240, 100, "colours")
    assert (model.sets.method, len(model.sets.classes), model.unknown.bank) == ("raps", 10, "")
    (answer,) = open_classifier(read_bundle(tmp_path / "b")).classify(pixels()[:1], coverage=0.95)
    assert answer.set


def test_text_and_json_have_the_figures(report: CalibrateReport) -> None:
    document = json.loads(json.dumps(calibration.to_json(report)))
    assert {"bundle", "n_fit", "n_test", "temperature", "nll_before", "nll", "brier_before", "brier"} <= set(document)
    model, ninety = report.uncertainty, document["coverage"]["90"]
    assert document["ece"] == 100 * model.after.ece
    assert list(document["coverage"]) == ["90", "95", "99"]
    assert ninety["realised"] == 100 * model.coverage[0].covered / 240
    assert ninety["interval95"][0] < ninety["realised"] < ninety["interval95"][1]
    assert 1 <= ninety["mean_size"] <= 10
    assert document["unknown"]["method"] == "knn"
    assert document["unknown"]["refused"] == 100 * model.n_unknown / 240
    text = calibration.to_text(report)
    assert "120 images fit, 120 set thresholds, 240 of colours measured" in text
    assert f"temperature {model.temperature:.3f}" in text
    assert "sets at 95 % (lac)" in text


def test_the_default_score_needs_two_images_a_feature() -> None:
    assert (default_method(128, 64), default_method(127, 64)) == ("vim", "knn")


def test_a_covariance_from_few_images_is_said(tmp_path: Path) -> None:
    assert notes_on_bank("vim", 128, 64) == notes_on_bank("knn", 2, 64) == notes_on_bank("energy", 2, 64) == []
    settings = CalibrateSettings(unknown="vim")
    (note,) = calibrate(classifier_of(network()), data(), tmp_path / "new", settings=settings).notes
    assert "vim estimates the covariance" in note
    assert "use --unknown-method knn" in note


def refused(images: CalibrationImages, tmp_path: Path, settings: CalibrateSettings | None = None) -> DataError:
    with pytest.raises(DataError) as error:
        follow(calibrate_bundle(network(), images, settings or CalibrateSettings(), tmp_path / "b"))
    assert not (tmp_path / "b").exists()
    return error.value


def test_too_few_images_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    few = replace(data(), items=data().items[:100])
    assert refused(CalibrationImages(few), tmp_path).message == (
        "colours has 100 images: refusing 1 % of genuine images takes 400, of which 100 decide the threshold"
    )
    assert follow(calibrate_bundle(network(), CalibrationImages(few), CalibrateSettings(refused=0.05), tmp_path / "c"))


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    some = replace(data(), items=[item for item in data().items if item.label not in (3, 7)] * 2)
    assert refused(CalibrationImages(some), tmp_path).message == "colours has no image of 2 of 10 classes: cat, horse"


def test_labels_in_another_order_are_refused(tmp_path: Path) -> None:
    logits = open_engine(network())(pixels())
    sharp = network().with_model(with_temperature(network().model, 0.05))
    shifted = ((logits.argmax(1) + 1) % 10).tolist()
    items = [Item(str(index), crop, label) for index, (crop, label) in enumerate(zip(pixels(), shifted, strict=True))]
    items += [Item(f"extra {label}", pixels()[label], label) for label in range(10)]
    with pytest.raises(DataError, match="order"):
        follow(calibrate_bundle(
            sharp, CalibrationImages(LabelledData("colours", items, 10)), CalibrateSettings(), tmp_path / "b"
        ))  # fmt: skip


@pytest.mark.parametrize("method", ["energy", "max-logit", "max-softmax"])
def test_a_bank_without_effect_is_refused(tmp_path: Path, method: UnknownMethod) -> None:
    settings = CalibrateSettings(unknown=method)
    with pytest.raises(ConfigError, match=f"a bank has no effect on {method}"):
        calibrate(classifier_of(network()), data(), tmp_path / "new", bank=tmp_path, settings=settings)


def test_images_of_the_bank_are_refused(tmp_path: Path) -> None:
    images = CalibrationImages(data(), bank=data().items[:5], bank_name="train")
    assert "5 of the images to calibrate with are also in the bank: train" in refused(images, tmp_path).message


def test_images_of_the_training_set_on_the_card_are_refused(tmp_path: Path) -> None:
    card = replace(network().card, notes={"train data hash": data().sha256})
    with pytest.raises(DataError, match="was trained on 480 of the images to calibrate with"):
        follow(calibrate_bundle(
            replace(network(), card=card), CalibrationImages(data()), CalibrateSettings(), tmp_path / "b"
        ))  # fmt: skip


def test_a_test_set_with_images_of_the_other_set_is_refused(tmp_path: Path) -> None:
    both = replace(data(), name="both", items=data().items[:7])
    assert refused(CalibrationImages(data(), both), tmp_path).message == "7 images of both are among those of colours"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="method of sets"):
        CalibrateSettings(sets="aps")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="between 0 and 1"):
        CalibrateSettings(refused=1.0)


def test_sets_of_an_uncalibrated_model_are_refused_with_the_command() -> None:
    with pytest.raises(ConfigError) as error:
        classifier_of(network()).classify(pixels()[:1], coverage=0.9)
    assert error.value.hint == f"wrn calibrate -m {network().card.name} --data LABELLED -o BUNDLE"


def test_a_coverage_beyond_the_images_is_refused_with_their_number(report: CalibrateReport) -> None:
    with pytest.raises(ConfigError, match=r"99.5 % take 199 calibration images, .* has 120"):
        opened(report).classify(pixels()[:1], coverage=0.995)



def with_items(change: Callable[[int, Item], Item]) -> LabelledData:
    """The images of ``data()``, each changed."""
    return replace(data(), items=[change(index, item) for index, item in enumerate(data().items)])


def test_images_without_a_label_are_refused(tmp_path: Path) -> None:
    """They are not taken for images of the last class."""
    some = with_items(lambda index, item: replace(item, label=None) if index in (100, 200) else item)
    for data_, test in ((some, None), (data(), replace(some, name="others"))):
        with pytest.raises(DataError, match=r"2 of 480 images of .* have no label"):
            calibrate(classifier_of(network()), data_, tmp_path / "new", test=test)


def test_a_test_set_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="colours has 11 classes, the network 10"):
        calibrate(classifier_of(network()), data(), tmp_path / "new", test=replace(data(100, 5), classes=11))


def test_images_that_cannot_be_read_are_no_promise(tmp_path: Path) -> None:
    """With too few readable ones nothing could ever be called unknown: no bundle is written."""
    most = with_items(lambda index, item: replace(item, source=b"damaged") if index % 5 else item)
    with pytest.raises(DataError, match=r"colours has 18 readable images for thresholds: refusing 1 % .* takes 100,"):
        calibrate(classifier_of(network()), most, tmp_path / "new")
    with pytest.raises(DataError, match="none of the 120 fit images can be read"):
        calibrate(classifier_of(network()), with_items(lambda _, item: replace(item, source=b"")), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_copies_among_the_images_are_said(report: CalibrateReport, tmp_path: Path) -> None:
    """Those of an image that fitted are known to the thresholds: figures measured on them are too optimistic."""
    assert not report.notes
    doubled = replace(data(), items=[*data().items, *(replace(item, path=f"{item.path}b") for item in data().items)])
    note, thresholds = calibrate(classifier_of(network()), doubled, tmp_path / "new").notes
    count = int(note.split()[0])
    assert 200 < count < 280                       # of 480, each beside a copy that fits with a probability of a half
    assert note.endswith("of the images measured are copies of others that fitted: the figures are too optimistic")
    assert 30 < int(thresholds.split()[0]) < 90    # of 240, with a probability of a quarter
    assert thresholds.endswith("that set thresholds are copies of others that fitted: the sets are too small")


def test_what_was_assumed_and_passed_over_is_that_of_both_sets(tmp_path: Path) -> None:
    first, second = (
        replace(data(count, seed), name=name, notes=(f"{name} is assumed",), skipped=Skipped({ending: 1}))
        for count, seed, name, ending in ((480, 0, "colours", ".txt"), (100, 5, "others", ".pdf"))
    )
    report = calibrate(classifier_of(network()), first, tmp_path / "new", test=second)
    assert report.notes[:2] == ("colours is assumed", "others is assumed")
    assert report.skipped == Skipped({".txt": 1, ".pdf": 1})


def test_training_images_that_are_gone_have_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index in the run folder of a model lists no files where it was fine-tuned on archives."""
    (tmp_path / "train.csv").write_text("path,label\n/shards/a.tar/1.png,cat\n")
    monkeypatch.setattr(task, "run_indices", lambda _: (tmp_path / "train.csv", tmp_path / "val.csv"))
    with pytest.raises(DataError, match=r"no images that the network knows: .*none of the 1 images") as caught:
        task.open_calibration_images(network(), data(), None, None)
    assert caught.value.hint == "name some with --bank"


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    bundle = network()
    model = onnx.ModelProto.FromString(bundle.model.SerializeToString())
    (bias,) = (constant for constant in model.graph.initializer if constant.name == classifier_node(model).input[2])
    bias.CopyFrom(numpy_helper.from_array(np.full(10, np.inf, np.float32), bias.name))
    with pytest.raises(EngineError, match="logits are not finite"):
        calibrate(classifier_of(bundle.with_model(model)), data(), tmp_path / "new")


def test_photographs_are_calibrated_upright_as_they_are_classified(tmp_path: Path) -> None:
    """Images on their side with an EXIF orientation give the calibration of their upright copies."""
    exif = Image.Exif()
    exif[274] = 6                                  # to be turned by a quarter
    bottom = np.linspace(1.0, 0.3, 32)[:, None, None]
    for index, item in enumerate(data().items):
        upright = Image.fromarray((item.source * bottom).astype(np.uint8))
        for root, image, options in (("upright", upright, {}), ("turned", upright.rotate(90), {"exif": exif})):
            folder = tmp_path / root / network().labels.names[item.label or 0]
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{index:03}.png", **options)
    names = "upright", "turned"
    upright, turned = (calibrate(classifier_of(network()), tmp_path / name, tmp_path / f"{name} new") for name in names)
    assert upright.uncertainty.before == turned.uncertainty.before
    assert upright.p_values == turned.p_values
