"""Compiling: half and int8 bundles that are verified, judged, and say on their card how they were made."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import Bundle, read_bundle
from wideresnet.bundle.bundle import tool_versions
from wideresnet.bundle.derive import with_preprocess
from wideresnet.engines import open_engine
from wideresnet.errors import BundleError, ConfigError, DataError
from wideresnet.images.noise import noise
from wideresnet.records import CompileReport, Published, QuantiseSettings, follow
from wideresnet.tasks.quantize import calibration_data as gating
from wideresnet.tasks.quantize import compile as compilation
from wideresnet.tasks.quantize.calibration_data import calibration_pool, hold_out
from wideresnet.tasks.quantize.compile import CompileSettings, GateKind, compile_model, in_precision, verify

CLASSES = ("airplane", "cat", "ship")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with eight images each."""
    root = tmp_path_factory.mktemp("pictures")
    pixels = noise(32)
    for label in CLASSES:
        (root / label).mkdir()
        for index, image in enumerate(pixels):
            Image.fromarray(np.roll(image, CLASSES.index(label), axis=1)).save(root / label / f"{index}.png")
    return root


def compiled(settings: CompileSettings, target: Path, bundle: Bundle | None = None) -> CompileReport:
    return follow(compile_model(bundle or tiny_bundle(), settings, target))


def asked(folder: Path, **changes: Any) -> CompileSettings:
    return replace(CompileSettings("int8", folder, folder, gate=1.0, quantise=QuantiseSettings(samples=12)), **changes)


@pytest.fixture(scope="module")
def int8(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompileReport, Path]:
    pytest.importorskip("nncf")
    target = tmp_path_factory.mktemp("made") / "int8"
    return compiled(asked(folder), target), target


def test_an_int8_bundle_runs_as_int8_in_both_runtimes_and_is_smaller(int8: tuple[CompileReport, Path]) -> None:
    report, target = int8
    assert report.size_bytes < 0.6 * report.size_bytes_reference
    assert {each.engine for each in report.verified} == {"openvino", "onnxruntime"}
    assert {each.batch for each in report.verified} == {1, 2, 7}
    bundle = read_bundle(target)
    assert [open_engine(bundle, name).info.precision for name in ("openvino", "onnxruntime")] == ["int8"] * 2


def test_a_search_goes_on_with_the_same_crops_only(folder: Path, tmp_path: Path) -> None:
    """Its notes and the answers of f32 are of one preprocessing, which is not in the graph, and of these files."""
    pytest.importorskip("nncf")
    bundle, root = tiny_bundle(), shutil.copytree(folder, tmp_path / "pictures")
    resized = with_preprocess(bundle, replace(bundle.card.preprocess, resize=40))
    pool = calibration_pool(root, bundle.labels).items

    def key(model: Bundle) -> str:
        return compilation.Quantizer(model, pool, None).key(QuantiseSettings())

    first = key(bundle)
    assert resized.graph == bundle.graph
    assert first == key(bundle) != key(resized)
    Image.fromarray(noise(40)[0]).save(root / "cat" / "3.png")
    assert key(bundle) != first


def test_the_card_keeps_the_calibration_and_the_gate(int8: tuple[CompileReport, Path], folder: Path) -> None:
    report, target = int8
    card = read_bundle(target).card
    assert (card.name, card.precision) == ("wrn_10_1.tiny-int8", "int8")
    assert len(card.calibration) == report.calibration == 12
    assert {Path(path).parent.name for path in card.calibration} == set(CLASSES)
    assert card.gate == report.gate
    assert report.gate is not None
    assert (report.gate.n, report.gate.passed, report.gate.engine.precision) == (24, True, "int8")
    assert card.measured[0].n == 24
    assert card.quantised == report.quantised == QuantiseSettings(samples=12)
    assert "nncf" in card.made_with
    assert card.notes["gate"].startswith("passed: limit 100 points of top-1, 24 images")


def test_a_quantised_model_cannot_be_compiled_again(int8: tuple[CompileReport, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no float graph"):
        compiled(CompileSettings("fp16", gate=None), tmp_path / "again", read_bundle(int8[1]))


def test_over_the_gate_the_bundle_is_written_and_marked(folder: Path, tmp_path: Path) -> None:
    report = compiled(CompileSettings("fp16", data=folder, gate=-0.5), tmp_path / "half")
    assert report.gate is not None
    assert not report.gate.passed
    card = read_bundle(tmp_path / "half").card
    assert card.gate is not None
    assert not card.gate.passed


def test_half_keeps_nearly_the_logits_and_fp32_keeps_them_all(tmp_path: Path) -> None:
    half = compiled(CompileSettings("fp16", gate=None), tmp_path / "half")
    whole = compiled(CompileSettings("fp32", gate=None), tmp_path / "whole", read_bundle(tmp_path / "half"))
    assert half.size_bytes < 0.65 * half.size_bytes_reference
    assert 0 < max(each.relative for each in half.verified) < 0.02
    assert max(each.relative for each in whole.verified) < 1e-4
    assert (half.gate, whole.gate) == (None, None)


def test_a_graph_of_another_model_does_not_pass_the_verification() -> None:
    bundle = tiny_bundle()
    model = onnx.ModelProto.FromString(bundle.graph)
    weight = next(c for c in model.graph.initializer if c.name == "layer3.0.conv1.weight")
    weight.raw_data = np.ascontiguousarray(onnx.numpy_helper.to_array(weight)[::-1]).tobytes()
    with pytest.raises(BundleError, match="does not compute the model"):
        verify(bundle, replace(bundle, graph=model.SerializeToString()), noise(32))


def test_logits_that_are_no_numbers_in_one_engine_do_not_pass_the_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's ReLU turns NaN into 0, ONNX Runtime's does not."""
    deviations = iter([0.0] * 3 + [math.nan] * 3)
    monkeypatch.setattr(compilation, "deviation", lambda *_: next(deviations))
    with pytest.raises(BundleError, match="in onnxruntime its logits differ by nan"):
        verify(tiny_bundle(), tiny_bundle(), noise(32))


def test_what_is_missing_is_said_before_anything_is_done(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 needs calibration images"):
        compiled(asked(folder, calibration=None), tmp_path / "x")
    with pytest.raises(ConfigError, match="int8 needs images"):
        in_precision(tiny_bundle(), "int8", [], [])
    for wrong in (asked(folder, gate=None, search=1.0), asked(folder, precision="fp16", search=1.0)):
        with pytest.raises(ConfigError, match="--search needs int8 and a gate"):
            compiled(wrong, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_without_a_gate_the_card_says_so(folder: Path, tmp_path: Path) -> None:
    compiled(CompileSettings("fp16", gate=None), tmp_path / "none")
    compiled(CompileSettings("fp16"), tmp_path / "nothing")
    report = compiled(CompileSettings("fp16", data=folder, gate=None), tmp_path / "data")
    cards = [read_bundle(tmp_path / name).card for name in ("none", "nothing", "data")]
    assert [card.notes["gate"] for card in cards] == [
        "none was requested", "none: there were no images for a comparison with f32", "none was requested",
    ]  # fmt: skip
    assert report.gate is not None
    assert (report.gate.limit, report.gate.passed) == (None, True)


def flat(folder: Path, target: Path) -> Path:
    """The same images without class folders."""
    target.mkdir()
    for path in folder.rglob("*.png"):
        shutil.copy(path, target / f"{path.parent.name}-{path.name}")
    return target


def test_unlabelled_images_are_judged_by_agreement(folder: Path, tmp_path: Path) -> None:
    data = flat(folder, tmp_path / "flat")
    for demanded, passes in ((0.0, True), (1.01, False)):
        report = compiled(CompileSettings("fp16", data=data, agreement=demanded), tmp_path / "half")
        gate = report.gate
        assert gate is not None
        assert (gate.kind, gate.limit, gate.passed, gate.n, gate.data) == ("agreement", demanded, passes, 24, "flat")
        assert (gate.top1_reference, gate.top1, gate.top5, gate.drop, gate.interval95, gate.p_value) == (None,) * 6
        card = read_bundle(tmp_path / "half").card
        assert (card.gate, card.measured) == (gate, ())


def test_without_data_spare_calibration_images_judge(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(gating, "MIN_GATE_IMAGES", 10)
    report = compiled(asked(folder, data=None, agreement=0.0), tmp_path / "x")
    assert report.gate is not None
    assert (report.gate.kind, report.gate.n, report.calibration) == ("agreement", 12, 12)
    calibration = read_bundle(tmp_path / "x").card.calibration
    judging = [item.path for item in hold_out(calibration_pool(folder, tiny_bundle().labels).items, 12)]
    assert set(calibration) | set(judging) == {str(path) for path in folder.rglob("*.png")}
    assert not set(calibration) & set(judging)


def test_a_search_ends_with_the_first_that_passes_and_leaves_no_notes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    report = compiled(asked(folder, search=1.0), tmp_path / "found")
    assert (len(report.trials), report.finished) == (1, True)
    assert report.trials[0].speedup
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
    assert "the best of 1 settings" in read_bundle(tmp_path / "found").card.notes["search"]


def test_a_search_at_the_end_of_its_time_writes_the_best_and_keeps_its_notes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    report = compiled(asked(folder, gate=-1.0, search=0.0), tmp_path / "found")
    assert report.gate is not None
    assert (report.gate.passed, report.finished, len(report.trials)) == (False, False, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found", "found.search"]
    again = compiled(asked(folder, gate=-1.0, search=0.0), tmp_path / "found")
    assert again.trials == report.trials, "read, not made again: even the seconds are the same"


def test_the_sensitivity_of_every_layer_is_measured_when_asked_for(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    report = compiled(asked(folder, layers=True), tmp_path / "x")
    assert {each.name for each in report.layers} >= {"conv1", "layer1.0.conv1", "layer3.0.shortcut", "fc"}
    assert sum(each.macs for each in report.layers) == pytest.approx(1)


def test_published_figures_do_not_outlive_the_transform_they_were_measured_with() -> None:
    bundle = tiny_bundle()
    figures = (Published(0.9, 0.99, "somebody"),)
    bundle = replace(bundle, card=replace(bundle.card, published=figures))
    assert with_preprocess(bundle, bundle.card.preprocess).card.published == figures
    other = replace(bundle.card.preprocess, mode="shortest")
    card = with_preprocess(bundle, other).card
    assert (card.preprocess, card.published) == (other, ())


def test_fewer_images_than_asked_for_are_shared_and_the_card_says_what_was_used(folder: Path, tmp_path: Path) -> None:
    """Two thirds calibrate, one third judges; card, report and notes give the numbers of what ran."""
    pytest.importorskip("nncf")
    few = QuantiseSettings(samples=300)
    report = compiled(asked(folder, data=None, agreement=0.0, quantise=few), tmp_path / "x")
    card = read_bundle(tmp_path / "x").card
    assert report.gate is not None
    assert (report.calibration, len(card.calibration), report.gate.n) == (16, 16, 8)
    assert card.quantised == report.quantised == QuantiseSettings(samples=16)
    assert report.notes == (
        "24 images are too few for calibration with 300 and a gate with 100:"
        " 16 calibrate, 8 are for the gate (two thirds, one third)",
    )
    assert card.notes["calibration"] == report.notes[0]
    again = compiled(asked(folder, data=None, agreement=0.0, quantise=few), tmp_path / "again")
    assert read_bundle(tmp_path / "again").card.calibration == card.calibration
    assert again.gate == report.gate


def test_images_that_calibrate_and_judge_are_counted_on_the_card(int8: tuple[CompileReport, Path]) -> None:
    report, target = int8
    assert report.notes == ("12 images are in both calibration and gate, so that the gate is optimistic",)
    assert read_bundle(target).card.notes["calibration"] == report.notes[0]


def test_what_cannot_be_read_is_a_failure_and_no_sample(folder: Path, tmp_path: Path) -> None:
    """An unreadable image of the calibration or of the gate is listed, and another one takes its turn."""
    pytest.importorskip("nncf")
    data = flat(folder, tmp_path / "flat")
    for name in ("a-torn.png", "cat-3-torn.png", "z-torn.png"):
        (data / name).write_bytes(b"no image")
    some = compiled(asked(data, gate=None), tmp_path / "x")
    assert (some.calibration, len(read_bundle(tmp_path / "x").card.calibration)) == (12, 12)
    every = compiled(asked(data, data=None, agreement=0.0, quantise=QuantiseSettings(300)), tmp_path / "y")
    assert every.gate is not None
    assert [Path(each.path).name for each in every.failures] == ["a-torn.png", "cat-3-torn.png", "z-torn.png"]
    assert every.calibration + every.gate.n == 24
    card = read_bundle(tmp_path / "y").card
    assert card.quantised == QuantiseSettings(samples=every.calibration)
    assert not any("torn" in path for path in card.calibration)


def test_trials_of_a_search_tell_the_images_that_were_used(folder: Path, tmp_path: Path) -> None:
    """With 23 readable images none of the trials claims 300, and no two are the same."""
    pytest.importorskip("nncf")
    data = flat(folder, tmp_path / "flat")
    (data / "cat-0.png").write_bytes(b"no image")
    settings = asked(data, data=data, search=1.0, agreement=0.0, quantise=QuantiseSettings(samples=300))
    report = compiled(settings, tmp_path / "x")
    assert {trial.settings.samples for trial in report.trials} == {23}
    assert [Path(each.path).name for each in report.failures] == ["cat-0.png"]


def test_where_nothing_can_be_read_the_error_names_one_and_the_number_needed(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "torn.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0 of 1 calibration images can be read, 2 are the fewest; .*torn\.png"):
        compiled(CompileSettings("int8", tmp_path / "bad", gate=None), tmp_path / "x")


@pytest.mark.parametrize(("kind", "labelled"), [("accuracy", False), ("agreement", True)])
def test_a_limit_that_the_images_cannot_be_held_to_is_refused(
    folder: Path, tmp_path: Path, kind: GateKind, labelled: bool
) -> None:
    data = folder if labelled else flat(folder, tmp_path / "flat")
    with pytest.raises(ConfigError, match=f"a gate of {kind} is requested"):
        compiled(CompileSettings("fp16", data=data, kind=kind), tmp_path / "x")
    other = "agreement" if kind == "accuracy" else "accuracy"
    assert compiled(CompileSettings("fp16", data=data, kind=other, gate=1.0, agreement=0.0), tmp_path / "x").gate


def test_nothing_is_reported_over_the_network(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    # In a process of its own: NNCF looks for pytest, and would be silent here anyway.
    code = """
import socket, sys
def refuse(*arguments): raise SystemExit(f"a connection was opened: {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
from fakes import tiny_bundle
from wideresnet.images.noise import noise
from wideresnet.tasks.quantize.compile import in_precision
made = in_precision(tiny_bundle(), "int8", list(noise(32)), ["x"] * 8)
print(len(made.graph))
"""
    tests = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10_000


def test_versions_on_the_card_are_of_what_wrote_the_graph(tmp_path: Path) -> None:
    """Not of what wrote the graph that it was made from."""
    old = replace(tiny_bundle(), card=replace(tiny_bundle().card, made_with={"wideresnet": "0.0.1", "numpy": "1"}))
    compiled(CompileSettings("fp16", gate=None), tmp_path / "half", old)
    assert read_bundle(tmp_path / "half").card.made_with == tool_versions()
