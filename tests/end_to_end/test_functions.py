"""The commands as functions of the package: the same results, as records."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from commands import Wrn
from fakes import tiny_bundle
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.errors import ConfigError

RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = 1
batch_size = 8
learning_rate = 0.05
stored = 20
sizes = [[0, 16]]
input_size = 18
input_resize = 20
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """train/ and val/ with four images of noise for each class of the network."""
    noise = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in tiny_bundle().labels.names:
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = noise.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{number}.png")
    return tmp_path / "data"


def test_export_writes_what_the_command_writes(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    card = wideresnet.export(tmp_path / "half", tiny, storage="f16")
    assert wrn("export", "-m", tiny, "--storage", "f16", "-o", "by_command").code == 0
    assert (card.precision, card) == ("fp16", read_bundle(tmp_path / "half").card)
    assert (tmp_path / "half" / "model.onnx").read_bytes() == Path("by_command/model.onnx").read_bytes()
    written = wideresnet.export(tmp_path / "w.safetensors", wideresnet.load(tmp_path / "half"), library="safetensors")
    assert written.precision == "fp32", "of the file, not of the model"
    assert wideresnet.load(tmp_path / "w.safetensors").card.name == "wrn_10_1.tiny"
    with pytest.raises(ConfigError, match="no storage called 'f64'"):
        wideresnet.export(tmp_path / "x", tiny, storage="f64")            # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no library called 'torch'"):
        wideresnet.export(tmp_path / "x.pth", tiny, library="torch")      # type: ignore[arg-type]
    for storage, message in (("f16", "storage has no effect"), (None, "timm has no")):
        with pytest.raises(ConfigError, match=message):
            wideresnet.export(tmp_path / "x.safetensors", tiny, library="timm", storage=storage)  # type: ignore[arg-type]


def test_compile_takes_the_splits_of_the_data_and_reports_its_gate(tiny: Path, data: Path, tmp_path: Path) -> None:
    report = wideresnet.compile(tmp_path / "int8", tiny, data=data, samples=20, max_drop=1.0)
    assert report.gate is not None
    assert (report.precision, report.calibration, report.gate.n, report.gate.verdict) == ("int8", 20, 40, "passed")
    assert re.fullmatch(r"<CompileReport .*/int8: int8, [\d.]+ MB, gate passed on 40 images>", repr(report))
    assert wideresnet.load(tmp_path / "int8").engine.info.precision == "int8"
    with pytest.raises(ConfigError, match="int8 needs images to calibrate with"):
        wideresnet.compile(tmp_path / "none", tiny)
    with pytest.raises(ConfigError, match="no precision called 'f17'"):
        wideresnet.compile(tmp_path / "none", tiny, precision="f17")  # type: ignore[arg-type]


def test_a_model_does_not_overwrite_its_source(tiny: Path, data: Path) -> None:
    before = {path: path.read_bytes() for path in tiny.iterdir()}
    for call in (
        lambda: wideresnet.compile(tiny, tiny, precision="f16"),
        lambda: wideresnet.export(tiny, wideresnet.load(tiny)),
        lambda: wideresnet.load(tiny).calibrate(data, tiny),
    ):
        with pytest.raises(ConfigError, match="would overwrite the model that it is made from"):
            call()
    assert {path: path.read_bytes() for path in tiny.iterdir()} == before


@pytest.mark.parametrize("max_drop", [math.nan, math.inf, -0.1, 2.0])
def test_a_gate_is_a_fraction(tiny: Path, tmp_path: Path, max_drop: float) -> None:
    with pytest.raises(ConfigError, match="a fraction from 0 to 1"):
        wideresnet.compile(tmp_path / "new", tiny, precision="f16", max_drop=max_drop)
    with pytest.raises(ConfigError, match="min_agreement is a fraction from 0 to 1"):
        wideresnet.compile(tmp_path / "new", tiny, precision="f16", min_agreement=max_drop)


@pytest.mark.parametrize("samples", [1, 0, -5])
def test_a_calibration_takes_two_images_or_more(tiny: Path, data: Path, tmp_path: Path, samples: int) -> None:
    with pytest.raises(ConfigError, match=f"samples are 2 or more calibration images, got {samples}"):
        wideresnet.compile(tmp_path / "new", tiny, data=data, samples=samples)


@pytest.mark.parametrize("minutes", [-1.0, float("nan")])
def test_a_search_takes_no_negative_time(tiny: Path, data: Path, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(ConfigError, match=f"search_minutes are 0 or more, got {minutes}"):
        wideresnet.compile(tmp_path / "new", tiny, data=data, search_minutes=minutes)


def test_images_to_calibrate_with_are_for_int8(tiny: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="calibration has no effect with f16"):
        wideresnet.compile(tmp_path / "new", tiny, precision="f16", calibration=data)
    with pytest.raises(ConfigError, match="samples has no effect with f16"):
        wideresnet.compile(tmp_path / "new", tiny, precision="f16", samples=50)


def test_compare_takes_models_or_files(wrn: Wrn, tiny: Path, data: Path, tmp_path: Path) -> None:
    wideresnet.export(tmp_path / "half", tiny, storage="f16")
    report = wideresnet.compare(wideresnet.load(tiny), tmp_path / "half", data)
    assert (report.n, report.only_a_correct, report.only_b_correct, report.agreement) == (40, 0, 0, 1.0)
    assert re.fullmatch(
        r"<ComparisonReport .*half less wrn_10_1\.tiny: top-1 \+0\.00% \(95 %: .* to .*\), 40 images>", repr(report)
    )
    for model in ("tiny", "half"):
        assert wrn("evaluate", "data", "-m", model, "-o", f"{model}.csv").code == 0
    assert wideresnet.compare("tiny.csv", Path("half.csv")).n == 40
    with pytest.raises(ConfigError, match="batch_size has no effect on files of scores"):
        wideresnet.compare("tiny.csv", "half.csv", batch_size=4)
    for arguments in (("tiny.csv", "half"), ("tiny", "half"), ("tiny.csv", "half.csv", data)):
        with pytest.raises(ConfigError, match=r"two (files of scores|models)"):
            wideresnet.compare(*arguments)  # type: ignore[arg-type]


def test_compare_keeps_engine_and_precision_of_open_classifiers(tiny: Path, data: Path) -> None:
    models = wideresnet.load(tiny, engine="onnxruntime"), wideresnet.load(tiny, precision="bf16", streams=2)
    report = wideresnet.compare(*models, data)
    for side, model in zip((report.a, report.b), models, strict=True):
        assert side.engine is not None
        assert (side.engine.runtime, side.engine.precision) == (model.engine.info.runtime, model.engine.info.precision)


def test_bench_measures_the_product_of_its_settings(tiny: Path) -> None:
    report = wideresnet.bench(wideresnet.load(tiny), batches=(1, 2), seconds=0.02, rounds=1)
    assert [(row.model, row.batch) for row in report.rows] == [("wrn_10_1.tiny", 1), ("wrn_10_1.tiny", 2)]
    assert re.search(r"<BenchReport wrn_10_1\.tiny engine f32: [\d.]+ images/s; ", repr(report))
    with pytest.raises(ConfigError, match="no measurement called 'speed'"):
        wideresnet.bench(tiny, measurements=("speed",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no effect of batches on latency: one image at a time"):
        wideresnet.bench(tiny, measurements=("latency",), batches=(32,))
    with pytest.raises(ConfigError, match="no effect of seconds on startup"):
        wideresnet.bench(tiny, measurements=("startup",), seconds=1)


@pytest.mark.usefixtures("one_thread")
def test_train_and_finetune_return_what_can_be_loaded(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    report = wideresnet.train(tmp_path / "mine.toml", tmp_path / "run", data, changes={"epochs": 2}, progress=True)
    assert (report.images.train, report.images.test, [line["epoch"] for line in report.log]) == (40, 40, [0, 1])
    assert "training" in capsys.readouterr().err
    assert wideresnet.load(report.model).card.architecture == "wrn_10_1"
    assert re.fullmatch(r"<TrainReport .*model\.safetensors: 2 epochs on 40 images>", repr(report))
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()[0])["epoch"] == 0
    with pytest.raises(ConfigError, match=r"mine\.toml trains on your own images"):
        wideresnet.train(tmp_path / "mine.toml", tmp_path / "run")
    tuned = wideresnet.finetune(data, tmp_path / "tuned", report.model)
    assert re.match(r"<FinetuneReport .*/bundle: probe on 40 images, <EvalReport ", repr(tuned))


def test_a_model_derived_from_a_file_does_not_overwrite_it(tiny: Path, data: Path, tmp_path: Path) -> None:
    """An open model, one that is normalised otherwise, and a member at another resolution."""
    file = tmp_path / "w.safetensors"
    wideresnet.export(file, tiny, library="safetensors")
    with pytest.warns(wideresnet.AssumptionWarning, match="normalised as requested"):
        derived = wideresnet.load(tiny, normalise="half")
    before = file.read_bytes(), (tiny / "model.onnx").read_bytes()
    for call in (
        lambda: wideresnet.export(file, wideresnet.load(file), library="safetensors"),
        lambda: wideresnet.export(tiny, derived),
        lambda: wideresnet.compile(tiny, derived, precision="f16"),
        lambda: wideresnet.cascade(tiny, [f"{tiny}@24", tiny], data),
    ):
        with pytest.raises(ConfigError, match=r"would (overwrite|replace)|is one of"):
            call()
    assert (file.read_bytes(), (tiny / "model.onnx").read_bytes()) == before


def test_a_single_text_is_no_sequence_of_letters(tiny: Path, data: Path) -> None:
    report = wideresnet.bench(tiny, engines="openvino", batches=2, seconds=0.02, rounds=1)   # type: ignore[arg-type]
    assert [(row.engine, row.batch) for row in report.rows] == [("openvino", 2)]
    with pytest.raises(ConfigError, match="a cascade has two networks or more"):
        wideresnet.cascade("out", "wrn_16_4.cifar10", data)
