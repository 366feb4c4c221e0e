"""Candidates are opened or skipped with a reason, and run on the inputs that they name."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes import FakeEngine, tiny_bundle, tiny_cascade
from wideresnet.bundle import Bundle, read_bundle
from wideresnet.errors import ConfigError, EngineError, ImageError
from wideresnet.records import Item
from wideresnet.tasks.bench import candidates, run
from wideresnet.tasks.bench.candidates import open_candidate, pixels
from wideresnet.tasks.bench.fixtures import Fixtures
from wideresnet.tasks.bench.options import BenchSettings, Entry

E2E = Entry("wrn_10_1.tiny", "end-to-end", "openvino", "f32", 2, files=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for label in range(3):
        Image.fromarray(FakeEngine().image(label)).save(folder / f"{label}.png")
    return folder


def make_fixtures(folder: Path, settings: BenchSettings, bundle: Bundle | None = None) -> Fixtures:
    return Fixtures(settings, [bundle or tiny_bundle()], folder)


def test_what_an_engine_cannot_do_is_left_out_with_its_reason(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    settings = BenchSettings(engines=("openvino", "onnxruntime"), precisions=("bf16",), sync=True)
    fixtures = make_fixtures(tmp_path, settings)
    (opened,) = fixtures.open(fixtures.entries())
    assert opened.entry.engine == "openvino"
    assert fixtures.skipped == {
        "wrn_10_1.tiny: engine, onnxruntime bf16, batch 8": "ONNX Runtime has no bf16 convolutions on CPUs"
    }


def test_a_benchmark_of_nothing_is_the_first_error(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    fixtures = make_fixtures(tmp_path, BenchSettings(engines=("onnxruntime",), precisions=("bf16",)))
    with pytest.raises(EngineError, match="no bf16"):
        fixtures.open(fixtures.entries())


def test_an_int8_model_cannot_be_measured_in_floats(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    stored = replace(bundle, card=replace(bundle.card, precision="int8"))
    fixtures = make_fixtures(tmp_path, BenchSettings(precisions=("f32", "int8")), stored)
    floats, int8 = fixtures.entries()
    assert fixtures.model(int8) is stored
    assert fixtures.note(int8) == ""
    fixtures.open([floats, int8])
    assert list(fixtures.skipped.values()) == ["wrn_10_1.tiny is stored in int8 and cannot run in f32"]


def test_an_int8_model_is_quantised_once_and_its_rows_say_so(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("nncf")
    fixtures = make_fixtures(tmp_path, BenchSettings(precisions=("int8",), data=photos))
    (entry,) = fixtures.entries()
    model = fixtures.model(entry)
    assert fixtures.model(entry) is model
    assert fixtures.note(entry) == "quantised in memory with 3 images; its accuracy is unknown"
    stored = read_bundle(fixtures.on_disk(entry))
    assert (stored.card.precision, stored.card.name, len(stored.card.calibration)) == ("int8", "wrn_10_1.tiny", 3)
    assert stored.sha256 == model.sha256
    assert open_candidate(entry, stored, [], tmp_path).info.precision == "int8"


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ConfigError, match="no images in"):
        _ = make_fixtures(tmp_path, BenchSettings(data=tmp_path)).items


def test_end_to_end_writes_the_answers_of_the_images_it_was_handed(photos: Path, tmp_path: Path) -> None:
    items = [Item(str(path), path) for path in sorted(photos.iterdir())]
    candidate = open_candidate(E2E, tiny_bundle(), items, tmp_path / "out.jsonl")
    done: list[int] = []
    candidate.work(islice(candidate.inputs(), 5), lambda: done.append(1))
    answers = [json.loads(line)["path"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answers == [items[k % 3].path for k in range(5)]
    assert len(done) == 5


def test_an_image_that_cannot_be_read_ends_the_run_since_refusing_is_quick(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    item = Item("bad.png", tmp_path / "bad.png")
    candidate = open_candidate(E2E, tiny_bundle(), [item], tmp_path / "out.jsonl")
    with pytest.raises(ImageError, match=r"bad\.png"):
        candidate.work(iter([item]), lambda: None)


@pytest.mark.parametrize("sync", [True, False])
def test_batches_go_through_the_engine_in_both_ways(
    sync: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(candidates, "open_engine", lambda *_: engine)
    entry = Entry("m", "engine", "openvino", "f32", 3, sync=sync)
    candidate = open_candidate(entry, tiny_bundle(), [], tmp_path)
    done: list[int] = []
    candidate.work(islice(candidate.inputs(), 4), lambda: done.append(1))
    assert (engine.calls, len(done), candidate.size) == ([3] * 4, 4, 3)


def test_pixels_are_those_of_the_images_repeated_to_the_batch(photos: Path) -> None:
    items = [Item(str(path), path) for path in sorted(photos.iterdir())]
    batch = pixels(tiny_bundle(), items, 7)
    assert batch.shape == (7, 32, 32, 3)
    assert (batch[0] == batch[3]).all()
    assert (batch[0] != batch[1]).any()
    assert pixels(tiny_bundle(), [], 9).shape == (9, 32, 32, 3)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    """Rows go by the name: those of the second would be the first's."""
    with pytest.raises(ConfigError, match="the same name"):
        next(run.bench([tiny_bundle(), tiny_bundle()], BenchSettings()))


@pytest.mark.parametrize("settings", [{"profile": True}, {"tune": True, "measurements": ()}])
def test_a_cascade_has_no_profile_and_no_tuning_of_its_own(settings: dict[str, Any]) -> None:
    """Refused before anything is measured, not after minutes."""
    with pytest.raises(ConfigError, match="is a cascade of 2 networks"):
        next(run.bench([tiny_cascade()], BenchSettings(**settings)))


def test_the_peak_is_that_of_all_threads_that_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 means every CPU, also beside 1."""
    threads_used = []

    def gemms(threads: int) -> dict[str, object]:
        threads_used.append(threads)
        raise EngineError("enough is known")

    monkeypatch.setattr(run, "open_gemms", gemms)
    monkeypatch.setattr(run, "available_cpus", lambda: 6)
    for threads in ((0, 1), (1, 2), (0,)):
        with pytest.raises(EngineError, match="enough"):
            list(run.bench([tiny_bundle()], BenchSettings(threads=threads, batches=(1,), sync=True)))
    assert threads_used == [6, 2, 6]
