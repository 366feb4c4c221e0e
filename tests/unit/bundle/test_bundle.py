"""A bundle is written whole or not at all, and opened only as it was written."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fakes import TINY, VARIANTS, calibrated_bundle, tiny_bundle, tiny_images, tiny_tensors
from wideresnet.bundle import Bundle, network_of
from wideresnet.bundle import bundle as made
from wideresnet.bundle.derive import as_float32, at_resolution, read_weights, rebuild, with_normalisation
from wideresnet.bundle.files import is_bundle, read_bundle, write_bundle
from wideresnet.engines import open_engine
from wideresnet.errors import BundleError, ConfigError
from wideresnet.output import atomic
from wideresnet.records import EngineInfo, GateReport, Labels, Measured, Published


@pytest.fixture(scope="module")
def bundle():
    return tiny_bundle()


# Making


def test_the_card_says_what_was_made(bundle):
    """Classes and precision come from what is really in the graph, not from the card that was handed in."""
    card = replace(bundle.card, classes=3, precision="int8")
    half = made.make_bundle(TINY["wrn_10_1"], tiny_tensors(TINY["wrn_10_1"]), card, bundle.labels, "fp16")
    assert (half.card.classes, half.card.precision) == (10, "fp16")
    assert len(half.graph) < 0.6 * len(bundle.graph)
    assert half.card.made_with["numpy"] == np.__version__


def test_labels_must_be_as_many_as_classes(bundle):
    with pytest.raises(ConfigError, match="2 labels for 10 classes"):
        made.make_bundle(TINY["wrn_10_1"], tiny_tensors(TINY["wrn_10_1"]), bundle.card, Labels(("cat", "dog")))


def test_a_gate_and_measured_figures_do_not_pass_to_other_pixels_or_another_precision(bundle):
    gate = GateReport(
        "val", 1000, 0, 0.9, 0.9, 0.99, 0.99, 0.0, (-0.001, 0.001), 1.0, 1.0, 0.0, 0.002, True,
        EngineInfo("openvino", "1", "CPU", "f32", 1),
    )  # fmt: skip
    measured = (Measured("cifar10 test", 10_000, 9_400, 9_990, "openvino", "f32"),)
    notes = {"gate": "passed", "search": "best of 3", "gate images": "few", "seed": "3"}
    card = replace(bundle.card, gate=gate, measured=measured, notes=notes)
    gated = replace(bundle, card=card)
    other = with_normalisation(gated, ((0.1, 0.1, 0.1), (0.9, 0.9, 0.9)))
    for changed in (other, rebuild(gated, read_weights(gated), "fp16")):
        assert (changed.card.gate, changed.card.measured, changed.card.notes["seed"]) == (None, (), "3")
        assert not {"gate", "search", "gate images"} & changed.card.notes.keys()
    same = as_float32(gated).card
    assert (same.gate, same.measured, same.notes) == (gate, measured, notes)


def test_the_ranges_of_an_int8_model_hold_for_its_own_normalisation(bundle):
    quantised = replace(bundle, card=replace(bundle.card, precision="int8"))
    spec = bundle.card.preprocess
    assert with_normalisation(quantised, (spec.mean, spec.std)) is quantised
    with pytest.raises(ConfigError, match="its ranges were calibrated for pixels as it normalises them"):
        with_normalisation(quantised, ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


# Writing and reading


def test_a_bundle_reads_back_as_it_was_written(bundle, tmp_path):
    card = replace(
        bundle.card,
        published=(Published(0.5, 0.9, "somebody"),),
        measured=(Measured("cifar10 test", 10_000, 9_400, 9_990, "openvino", "f32"),),
        notes={"seed": "0"},
    )
    written = write_bundle(tmp_path / "a" / "b", replace(bundle, card=card))
    again = read_bundle(tmp_path / "a" / "b")
    assert again.card == written == replace(card, files=written.files)
    assert again.labels == bundle.labels
    assert again.graph == bundle.graph


def test_the_card_holds_the_hash_of_every_other_file(bundle, tmp_path):
    folder = tmp_path / "b"
    card = write_bundle(folder, bundle)
    others = {path.name for path in folder.iterdir()} - {"card.json"}
    assert card.files == {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in others}
    assert json.loads((folder / "card.json").read_text())["schema"] == 1


@pytest.mark.parametrize(("part", "old", "new"), [
    ("preprocess", "interpolation", "interpolaton"), ("", "labels_name", "label_name"),
])  # fmt: skip
def test_a_field_that_no_card_has_is_refused_with_the_closest_one(bundle, tmp_path, part, old, new):
    write_bundle(tmp_path / "b", bundle)
    card = json.loads((tmp_path / "b" / "card.json").read_text())
    fields = card[part] if part else card
    fields[new] = fields.pop(old)
    (tmp_path / "b" / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=f"it has no field '{new}'") as caught:
        read_bundle(tmp_path / "b")
    assert caught.value.hint == f"did you mean '{old}'?"


def test_an_older_bundle_is_replaced_whole(bundle, tmp_path):
    write_bundle(tmp_path / "b", bundle)
    write_bundle(tmp_path / "b", replace(bundle, card=replace(bundle.card, name="newer")))
    assert read_bundle(tmp_path / "b").card.name == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["card.json", "labels.txt", "model.onnx"]


@pytest.mark.parametrize("name", ["README.md", ".git/config"])
def test_files_beside_a_bundle_are_not_lost(bundle, tmp_path, name):
    write_bundle(tmp_path / "b", bundle)
    (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "b" / name).write_text("by hand")
    with pytest.raises(BundleError, match="is no bundle, or has other files"):
        write_bundle(tmp_path / "b", replace(bundle, card=replace(bundle.card, name="newer")))
    assert (tmp_path / "b" / name).read_text() == "by hand"
    assert read_bundle(tmp_path / "b").card.name == bundle.card.name


def test_an_empty_folder_becomes_the_bundle(bundle, tmp_path):
    (tmp_path / "b").mkdir()
    write_bundle(tmp_path / "b", bundle)
    assert is_bundle(tmp_path / "b")


def test_a_folder_with_something_else_in_it_is_not_touched(bundle, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="is no bundle") as caught:
        write_bundle(tmp_path, bundle)
    assert "another folder" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_of_that_name_is_not_touched(bundle, tmp_path):
    (tmp_path / "b").write_text("a file")
    with pytest.raises(BundleError, match="is no bundle"):
        write_bundle(tmp_path / "b", bundle)
    assert (tmp_path / "b").read_text() == "a file"


def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(bundle, tmp_path, monkeypatch):
    write_bundle(tmp_path / "b", bundle)
    sync_file, calls = atomic.sync_file, []

    def full(path):
        calls.append(path.name)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_file(path)

    monkeypatch.setattr(atomic, "sync_file", full)
    with pytest.raises(BundleError, match="No space left"):
        write_bundle(tmp_path / "b", replace(bundle, card=replace(bundle.card, name="newer")))
    assert len(calls) == 2
    assert read_bundle(tmp_path / "b").card.name == bundle.card.name
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_move_that_fails_leaves_the_old_bundle(bundle, tmp_path, monkeypatch):
    """The old folder has already stepped aside when the new one cannot take its place."""
    write_bundle(tmp_path / "b", bundle)
    move, moves = os.replace, []

    def refuse(source, target):
        moves.append(target)
        if len(moves) == 2:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        move(source, target)

    monkeypatch.setattr(atomic, "exchange", lambda first, second: False)       # as where there is none
    monkeypatch.setattr(atomic.os, "replace", refuse)
    with pytest.raises(BundleError, match="Permission denied"):
        write_bundle(tmp_path / "b", bundle)
    assert read_bundle(tmp_path / "b").card.name == bundle.card.name
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


# Variants


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_on_the_card_and_survives_every_rewriting(name, tmp_path):
    architecture = VARIANTS[name]
    bundle = tiny_bundle(architecture)
    assert bundle.card.variant == architecture.variant()
    write_bundle(tmp_path / "b", bundle)
    again = read_bundle(tmp_path / "b")
    assert again.card.variant == architecture.variant()
    assert network_of(again.card) == architecture
    for engine in ("openvino", "pytorch"):
        logits = [open_engine(each, engine)(tiny_images(2, 32)) for each in (again, as_float32(again))]
        np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-5)


def test_cards_of_default_networks_state_no_variant(bundle, tmp_path):
    write_bundle(tmp_path / "b", bundle)
    path = tmp_path / "b" / "card.json"
    card = json.loads(path.read_text("utf-8"))
    assert card.pop("variant") == {}
    path.write_text(json.dumps(card), "utf-8")         # as older versions wrote it
    assert network_of(read_bundle(tmp_path / "b").card) == TINY["wrn_10_1"]


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({}, "variant is none on the card, activation leaky_relu, bn_eps 0.001, conv_bias True, shortcut skip_norm in"),
        ({"activation": "gelu"}, "variant is activation gelu on the card"),
    ],
)
def test_a_card_of_another_variant_is_refused(tmp_path, variant, words):
    bundle = tiny_bundle(VARIANTS["skip_norm"])
    write_bundle(tmp_path / "b", replace(bundle, card=replace(bundle.card, variant=variant)))
    with pytest.raises(BundleError, match=words) as caught:
        read_bundle(tmp_path / "b")
    assert "wrn export" in caught.value.hint


# Damage


@pytest.fixture(scope="module")
def whole(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "b"
    write_bundle(folder, bundle)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt"])
def test_a_changed_file_is_detected(whole, tmp_path, name):
    folder = shutil.copytree(whole, tmp_path / "b")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not the file") as caught:
        read_bundle(folder)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "card.json"])
def test_a_missing_file_is_named(whole, tmp_path, name):
    folder = shutil.copytree(whole, tmp_path / "b")
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"not a complete bundle: No such file or directory: .*{name}"):
        read_bundle(folder)
    assert is_bundle(folder) == (name != "card.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 3}', "\N{SNOWMAN}"])
def test_a_card_that_is_none_is_an_error(whole, tmp_path, text):
    folder = shutil.copytree(whole, tmp_path / "b")
    (folder / "card.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="is no card of a model"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": [{"top1": math.nan, "top5": 0.9, "source": "x"}]}, "a number that is NaN or infinite"),
        ({"gate": {"mean_kl": math.inf}}, "no card of a model"),
        ({"published": [{"top1": 78.4, "top5": 94.1, "source": "x"}]}, "its accuracies are not fractions of 1"),
        ({"published": [{"top1": 0.9, "top5": 0.8, "source": "x"}]}, "its accuracies are not fractions of 1"),
        ({"measured": [{"data": "x", "n": 0, "correct1": 0, "correct5": 0}]}, "or of no images"),
        ({"measured": [{"data": "x", "n": 9, "correct1": 10, "correct5": 10}]}, "or of no images"),
        ({"schema": 2}, "schema: Input should be 1"),
    ],
)
def test_a_card_with_numbers_that_cannot_be_is_an_error(whole, tmp_path, change, message):
    """The last one is a card of a later version, which may mean something else."""
    folder = shutil.copytree(whole, tmp_path / "b")
    card = json.loads((folder / "card.json").read_text())
    for row in change.get("measured", ()):
        row |= {"engine": "openvino", "precision": "f32"}
    (folder / "card.json").write_text(json.dumps(card | change))
    with pytest.raises(BundleError, match=message):
        read_bundle(folder)


def test_its_own_resolution_changes_nothing() -> None:
    """So that an int8 model, whose graph cannot be written again, takes it too, and a calibration stays."""
    bundle = calibrated_bundle(tiny_bundle())
    assert at_resolution(bundle, 32) is at_resolution(bundle, 0) is bundle
    assert at_resolution(bundle, 48).card.uncertainty is None


def test_the_hash_and_the_parsed_graph_are_computed_once() -> None:
    bundle = tiny_bundle()
    assert bundle.sha256 == hashlib.sha256(bundle.graph).hexdigest()
    assert bundle.model is bundle.model
    other = bundle.with_model(bundle.model, replace(bundle.card, name="other"))
    assert (other.card.name, other.graph, other.labels) == ("other", bundle.graph, bundle.labels)


def test_derived_values_belong_to_one_graph_and_are_not_pickled() -> None:
    bundle = tiny_bundle()
    assert (bundle.sha256, bundle.model.graph.name) == (bundle.sha256, "wrn_10_1")
    assert replace(bundle, graph=b"other").sha256 != bundle.sha256
    assert set(vars(pickle.loads(pickle.dumps(bundle)))) == {*vars(Bundle(bundle.card, bundle.labels, b""))}


def test_a_calibration_is_on_the_card_and_in_the_graph(bundle, tmp_path):
    calibrated = calibrated_bundle(bundle)
    write_bundle(tmp_path / "b", calibrated)
    assert read_bundle(tmp_path / "b").card.uncertainty == calibrated.card.uncertainty


def test_a_card_without_calibration_does_not_mention_it(bundle, tmp_path):
    write_bundle(tmp_path / "b", bundle)
    assert "uncertainty" not in (tmp_path / "b" / "card.json").read_text()


@pytest.mark.parametrize(("change", "problem"), [
    ({"uncertainty": None}, "known score is False on the card, True in the graph"),
    ({"temperature": 2.0}, "temperature is 2 on the card, 0.5 in the graph"),
])  # fmt: skip
def test_a_calibration_that_contradicts_the_graph_is_refused(bundle, tmp_path, change, problem):
    calibrated = calibrated_bundle(bundle)
    if "temperature" in change:
        change = {"uncertainty": replace(calibrated.card.uncertainty, **change)}
    write_bundle(tmp_path / "b", replace(calibrated, card=replace(calibrated.card, **change)))
    with pytest.raises(BundleError, match=problem):
        read_bundle(tmp_path / "b")
