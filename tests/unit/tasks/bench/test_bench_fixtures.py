"""Contestants are opened or left out with a reason; what they run is what it says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from fakes import FakeEngine, tiny_bundle
from wideresnet.bundle import Bundle, read_bundle
from wideresnet.errors import ConfigError, EngineError, ImageError, MissingExtra
from wideresnet.records import Item
from wideresnet.tasks.bench import candidates as contestants
from wideresnet.tasks.bench import options, run
from wideresnet.tasks.bench.candidates import open_contestant, pixels
from wideresnet.tasks.bench.fixtures import Lab
from wideresnet.tasks.bench.options import BenchSettings, Entry

E2E = Entry("wrn_10_1.tiny", "end-to-end", "openvino", "f32", 2, files=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for label in range(3):
        Image.fromarray(FakeEngine().image(label)).save(folder / f"{label}.png")
    return folder


def lab(folder: Path, settings: BenchSettings, bundle: Bundle | None = None) -> Lab:
    return Lab(settings, [bundle or tiny_bundle()], folder)


def test_what_an_engine_cannot_do_is_left_out_with_its_reason(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = lab(tmp_path, BenchSettings(engines=("openvino", "onnxruntime"), precisions=("bf16",), sync=True))
    (opened,) = made.open(made.asked())
    assert opened.entry.engine == "openvino"
    assert made.skipped == {
        "wrn_10_1.tiny: engine, onnxruntime bf16, batch 8": "ONNX Runtime has no bf16 convolutions on CPUs"
    }


def test_a_benchmark_of_nothing_is_the_first_error(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = lab(tmp_path, BenchSettings(engines=("onnxruntime",), precisions=("bf16",)))
    with pytest.raises(EngineError, match="no bf16"):
        made.open(made.asked())


def test_an_int8_model_cannot_be_measured_in_floats(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    stored = replace(bundle, card=replace(bundle.card, precision="int8"))
    made = lab(tmp_path, BenchSettings(precisions=("f32", "int8")), stored)
    floats, int8 = made.asked()
    assert made.model(int8) is stored
    assert made.note(int8) == ""
    made.open([floats, int8])
    assert list(made.skipped.values()) == ["wrn_10_1.tiny is stored in int8 and cannot run in f32"]


def test_an_int8_twin_is_made_once_and_its_rows_say_so(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def quantised(reference: Bundle, precision: str, crops: list[object], names: list[str]) -> Bundle:
        seen.append((precision, len(crops), len(names)))
        return replace(reference, card=replace(reference.card, licence="of the twin"))

    monkeypatch.setattr("wideresnet.tasks.bench.fixtures.in_precision", quantised)
    made = lab(tmp_path, BenchSettings(precisions=("int8",), data=photos))
    (entry,) = made.asked()
    assert made.model(entry) is made.model(entry)
    assert seen == [("int8", 3, 3)]
    assert made.note(entry) == "quantised in memory with 3 images; its accuracy is unknown"
    assert read_bundle(made.on_disk(entry)).card.licence == "of the twin"


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ConfigError, match="no images in"):
        _ = lab(tmp_path, BenchSettings(data=tmp_path)).items


def test_end_to_end_writes_the_answers_of_the_images_it_was_handed(photos: Path, tmp_path: Path) -> None:
    items = [Item(str(path), path) for path in sorted(photos.iterdir())]
    contestant = open_contestant(E2E, tiny_bundle(), items, tmp_path / "out.jsonl")
    done: list[int] = []
    contestant.work(islice(contestant.inputs(), 5), lambda: done.append(1))
    answers = [json.loads(line)["path"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answers == [items[k % 3].path for k in range(5)]
    assert len(done) == 5


def test_a_image_that_cannot_be_read_ends_the_run_since_refusing_is_quick(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    item = Item("bad.png", tmp_path / "bad.png")
    contestant = open_contestant(E2E, tiny_bundle(), [item], tmp_path / "out.jsonl")
    with pytest.raises(ImageError, match=r"bad\.png"):
        contestant.work(iter([item]), lambda: None)


@pytest.mark.parametrize("sync", [True, False])
def test_batches_go_through_the_engine_in_both_ways(
    sync: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(contestants, "open_engine", lambda *_: engine)
    entry = Entry("m", "engine", "openvino", "f32", 3, sync=sync)
    contestant = open_contestant(entry, tiny_bundle(), [], tmp_path)
    done: list[int] = []
    contestant.work(islice(contestant.inputs(), 4), lambda: done.append(1))
    assert (engine.calls, len(done), contestant.size) == ([3] * 4, 4, 3)


def test_pixels_are_those_of_the_images_repeated_to_the_batch(photos: Path) -> None:
    items = [Item(str(path), path) for path in sorted(photos.iterdir())]
    batch = pixels(tiny_bundle(), items, 7)
    assert batch.shape == (7, 32, 32, 3)
    assert (batch[0] == batch[3]).all()
    assert (batch[0] != batch[1]).any()
    assert pixels(tiny_bundle(), [], 9).shape == (9, 32, 32, 3)


@pytest.mark.parametrize("name", [options.EAGER, options.PLAIN_SCRIPT])
def test_a_baseline_without_torch_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "wideresnet.tasks.bench.torch_baselines", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    entry = Entry("m", "engine", name, "f32", 1)
    with pytest.raises(MissingExtra, match=f"baseline {name} needs torch"):
        open_contestant(entry, tiny_bundle(), [], tmp_path)


def test_openvinos_own_loop_answers_every_batch_it_is_handed(tmp_path: Path) -> None:
    for what, sync in (("engine", False), ("latency", True)):
        entry = Entry("m", what, options.STOCK, "bf16", 1, sync=sync)  # type: ignore[arg-type]
        contestant = open_contestant(entry, tiny_bundle(), [], tmp_path)
        done: list[int] = []
        contestant.work(islice(contestant.inputs(), 5), lambda found=done: found.append(1))
        assert len(done) == 5
        assert contestant.info.runtime == "openvino-stock"


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    """Rows go by the name: those of the second would be the first's."""
    with pytest.raises(ConfigError, match="the same name"):
        next(run.bench([tiny_bundle(), tiny_bundle()], BenchSettings()))


def test_the_peak_is_that_of_all_threads_that_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 means every CPU, also beside 1."""
    asked = []

    def gemms(threads: int) -> dict[str, object]:
        asked.append(threads)
        raise EngineError("enough is known")

    monkeypatch.setattr(run, "open_gemms", gemms)
    monkeypatch.setattr(run, "available_cpus", lambda: 6)
    for threads in ((0, 1), (1, 2), (0,)):
        with pytest.raises(EngineError, match="enough"):
            list(run.bench([tiny_bundle()], BenchSettings(threads=threads, batches=(1,), sync=True)))
    assert asked == [6, 2, 6]
