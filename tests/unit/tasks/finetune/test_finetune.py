"""Fine-tuning runs: the bundle computes what was learnt, and an interruption changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes import VARIANTS, tiny_bundle
from wideresnet.architectures import get_architecture
from wideresnet.bundle import read_bundle
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.train_val_split import open_split
from wideresnet.engines.features import open_features
from wideresnet.errors import ConfigError, DataError, TrainingError
from wideresnet.images.loader import load_crop
from wideresnet.records import FinetuneReport, Images, Item, PathPoint, Preprocess, Progress, follow
from wideresnet.tasks.finetune import finetune as task
from wideresnet.tasks.finetune import full as finetune_full
from wideresnet.tasks.finetune import probe as finetune_probe
from wideresnet.tasks.finetune.finetune import run_finetune
from wideresnet.tasks.finetune.full import BEST, best_epoch, is_patience_over
from wideresnet.tasks.finetune.probe import embed_split, run_probe
from wideresnet.tasks.finetune.settings import ComputeOptions, FinetuneSettings, make_recipe
from wideresnet.tasks.load.load import open_classifier
from wideresnet.training import loop
from wideresnet.training.loop import Epoch

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
FULL = FinetuneSettings(
    mode="full",
    recipe={"epochs": 3, "batch_size": 4, "stored": 36, "sizes": ((0, 16), (2, 24)), "ema": 0.5, "mixup": 0.1},
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One thread, and no tuning from elsewhere."""
    monkeypatch.setattr(loop, "available_cpus", lambda: 1)
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Plain images of three classes, told apart by their colour; six of each."""
    shades = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(6):
            rgb = tuple(int(part * shades.integers(120, 256)) for part in colour)
            Image.new("RGB", (44, 40), rgb).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def finish(pets: Path, run: Path, settings: FinetuneSettings = FinetuneSettings()) -> FinetuneReport:  # noqa: B008
    return follow(run_finetune(tiny_bundle(), pets, run, settings))


def test_the_bundle_computes_the_head_on_the_features_of_the_source(pets: Path, tmp_path: Path) -> None:
    report = finish(pets, tmp_path / "run")
    bundle = read_bundle(tmp_path / "run" / "bundle")
    assert report.evaluation.top1 == 1.0
    assert bundle.labels.names == ("blue", "green", "red")
    split = open_split(pets, 0.2, 0)
    architecture = get_architecture("wrn_10_1", 3)
    tensors = follow(run_probe(tiny_bundle(), architecture, split, tmp_path / "other", FinetuneSettings())).tensors
    spec = tiny_bundle().card.preprocess
    crops = np.stack([load_crop(item.source, spec) for item in split.val.items])
    features = open_features(tiny_bundle(), ["features"])(crops)["features"]
    expected = features @ tensors["fc.weight"].T + tensors["fc.bias"]
    np.testing.assert_allclose(open_classifier(bundle).logits(crops), expected, rtol=1e-3, atol=1e-3)


def test_features_of_plain_and_mirrored_images_are_those_of_the_graph(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (7, 32, 32, 3), np.uint8)
    items = [Item(str(number), image, number % 2) for number, image in enumerate(noise)]
    items.insert(3, Item("bad", b"no image", 0))
    data, source = LabelledData("noise", items, 2), tiny_bundle()
    samples, failures = follow(embed_split(source, data, tmp_path, flips=True))
    expected = open_features(source, ["features"])
    np.testing.assert_allclose(samples.features[:, 0], expected(noise)["features"], atol=1e-5)
    np.testing.assert_allclose(samples.features[:, 1], expected(noise[:, :, ::-1])["features"], atol=1e-5)
    assert (samples.labels.tolist(), [item.path for item in failures]) == ([0, 1, 0, 1, 0, 1, 0], ["bad"])
    plain, _ = follow(embed_split(source, data, tmp_path, flips=False))
    assert plain.features.shape == (7, 1, 64)


def test_an_interrupted_probe_embeds_only_what_is_left(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_probe, "CHUNK", 4)
    undisturbed = finish(pets, tmp_path / "whole")
    cut = run_finetune(tiny_bundle(), pets, tmp_path / "cut", FinetuneSettings())
    next(cut), next(cut)
    cut.close()
    assert len(list((tmp_path / "cut" / "features").iterdir())) == 2
    embedded: list[int] = []
    embed_chunk = finetune_probe._embed_chunk

    def watch(*arguments: Any) -> bytes:
        embedded.append(len(arguments[1].items))
        return embed_chunk(*arguments)

    monkeypatch.setattr(finetune_probe, "_embed_chunk", watch)
    finish(pets, tmp_path / "cut")
    assert embedded == [4, 3], "of fifteen images, eight were done"
    first, second = (read_bundle(tmp_path / name / "bundle") for name in ("whole", "cut"))
    assert first.graph == second.graph
    assert first.card == second.card
    assert undisturbed.path


def test_an_interrupted_full_run_ends_with_the_same_bundle(pets: Path, tmp_path: Path) -> None:
    undisturbed = finish(pets, tmp_path / "whole", FULL)
    assert len(undisturbed.log) == 3
    for epochs in (0, 1):                          # in the middle of the first epoch, then of the second
        cut = run_finetune(tiny_bundle(), pets, tmp_path / "cut", FULL)
        middle = Progress("training", 3 * epochs + 2, 9)
        assert next(event for event in cut if event == middle)
        cut.close()
    # A kill between the checkpoint and the copy of its weights.
    (tmp_path / "cut" / BEST).unlink()
    finish(pets, tmp_path / "cut", FULL)
    first, second = (read_bundle(tmp_path / name / "bundle") for name in ("whole", "cut"))
    assert first.graph == second.graph
    again = finish(pets, tmp_path / "cut", FULL)
    assert read_bundle(Path(again.bundle)).graph == first.graph


@pytest.mark.parametrize("settings", [FinetuneSettings(), FULL], ids=lambda settings: settings.mode)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_stays_itself_with_other_classes(
    pets: Path, tmp_path: Path, name: str, settings: FinetuneSettings
) -> None:
    report = follow(run_finetune(tiny_bundle(VARIANTS[name]), pets, tmp_path / "run", settings))
    bundle = read_bundle(tmp_path / "run" / "bundle")
    assert bundle.card.variant == VARIANTS[name].variant()
    assert bundle.card.classes == 3
    assert report.evaluation.top1 > 0.5


def test_the_best_epoch_makes_the_bundle_and_the_run_ends_when_none_is_better(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.75, 0.25, 0.25, 0.9])
    monkeypatch.setattr(loop, "validate", lambda *_: (next(scores), 1.0, 1.0))
    best_files: dict[int, bytes] = {}
    settings = FULL.model_copy(update={"patience": 2, "recipe": {**FULL.recipe, "epochs": 5}})

    def keep(event: object) -> None:
        if isinstance(event, Epoch):
            best_files[event.epoch] = (tmp_path / "run" / BEST).read_bytes()

    report = follow(run_finetune(tiny_bundle(), pets, tmp_path / "run", settings), keep)
    assert list(best_files) == [0, 1, 2, 3]
    assert best_files[0] != best_files[1] == best_files[2] == best_files[3]
    assert "val chose epoch 2 of 5, and ended the run after 4" in report.chosen


def test_an_average_of_the_last_epochs_is_one_of_all_that_were_asked_for(pets: Path, tmp_path: Path) -> None:
    recipe = {**FULL.recipe, "epochs": 4, "swa": 2, "learning_rate": 1e-9}
    report = finish(pets, tmp_path / "run", FULL.model_copy(update={"patience": 1, "recipe": recipe | {"ema": 0.0}}))
    assert len({line["top1"] for line in report.log}) == 1, "no epoch was better than the first"
    assert len(report.log) == 4
    assert report.chosen.startswith("val chose epoch 4 of 4: ")


@pytest.mark.parametrize("frozen", [3, 5])
def test_a_rate_by_stage_is_for_several_stages(pets: Path, tmp_path: Path, frozen: int) -> None:
    """A network of the paper has three; the default of the rate stands for any number."""
    recipe = {**FULL.recipe, "epochs": 1, "frozen": frozen}
    with pytest.raises(ConfigError, match=f"stage_rate has no effect: frozen = {frozen} leaves one stage at most"):
        finish(pets, tmp_path / "run", FULL.model_copy(update={"recipe": recipe | {"stage_rate": 0.5}}))
    assert finish(pets, tmp_path / "other", FULL.model_copy(update={"recipe": recipe})).log


def test_weights_from_before_the_average_are_called_so() -> None:
    recipe = make_recipe(FULL.model_copy(update={"recipe": {"epochs": 4, "swa": 2}}), "wrn_10_1", Preprocess(32, 32), 9)
    for best, words in ((2, "3 of 4, before swa averaged weights: "), (3, "4 of 4: ")):
        log = [{"epoch": epoch, "top1": 0.5 if epoch == best else 0.25} for epoch in range(4)]
        assert finetune_full._describe_choice(recipe, log).startswith(f"val chose epoch {words}")


@pytest.mark.parametrize(
    ("top1", "best", "over"),
    [
        ([], -1, False),
        ([0.1], 0, False),
        ([0.1, 0.3, 0.3], 2, False),
        ([0.3, 0.3, 0.3], 2, True),
        ([0.3, float("nan"), 0.2], 0, True),
        ([float("nan"), 0.3, float("nan"), float("nan")], 1, False),
        ([0.1, 0.2, 0.1], 1, False),
    ],
)
def test_which_epoch_is_best_and_when_it_is_enough(top1: list[float], best: int, over: bool) -> None:
    log: list[Mapping[str, float]] = [{"epoch": epoch, "top1": value} for epoch, value in enumerate(top1)]
    assert best_epoch(log) == best
    assert is_patience_over(log, 2) is over
    assert is_patience_over(log, 0) is False


def test_norms_of_a_bundle_can_be_trained_too(pets: Path, tmp_path: Path) -> None:
    settings = FULL.model_copy(update={"recipe": {**FULL.recipe, "norms": "train", "epochs": 1}})
    report = finish(pets, tmp_path / "run", settings)
    assert np.isfinite(report.log[0]["loss"])
    assert 'norms = "train"' in read_bundle(Path(report.bundle)).card.notes["recipe"]
    assert report.evaluation.n == 3


def test_another_resolution_is_that_of_the_bundle(pets: Path, tmp_path: Path) -> None:
    report = finish(pets, tmp_path / "run", FinetuneSettings(resolution=40))
    spec = read_bundle(Path(report.bundle)).card.preprocess
    assert (spec.crop, spec.resize, spec.mode) == (40, 40, "squash")


def test_an_int8_model_is_refused_with_a_way_out(pets: Path, tmp_path: Path) -> None:
    source = tiny_bundle()
    int8 = replace(source, card=replace(source.card, precision="int8"))
    with pytest.raises(ConfigError, match="its weights are int8") as caught:
        list(run_finetune(int8, pets, tmp_path / "run", FinetuneSettings()))
    assert "compiled from" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_of_one_mode_one_source_and_the_same_images(pets: Path, tmp_path: Path) -> None:
    finish(pets, tmp_path / "run")
    finish(pets, tmp_path / "run", FinetuneSettings(l2=(0.5,), flips=False))
    shutil.copy(pets / "red" / "0.png", pets / "red" / "7.png")
    with pytest.raises(TrainingError, match="run holds another run; different: mode, train"):
        finish(pets, tmp_path / "run", FULL)


@pytest.mark.parametrize("run", ["", "run", "red/run"])
def test_a_run_among_the_class_folders_is_refused(pets: Path, run: str) -> None:
    with pytest.raises(ConfigError, match=r"is among the class folders of .*pets, and would be a class the next time"):
        finish(pets, pets / run)
    assert {path.name for path in pets.iterdir()} == {*COLOURS}


def test_every_unreadable_image_is_listed_once(pets: Path, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        for number in range(3):                    # three of six, so that train and val both have some
            (pets / name / f"{number}.png").write_bytes(b"no image")
    for settings in (FinetuneSettings(val_fraction=0.5), FULL.model_copy(update={"val_fraction": 0.5})):
        report = finish(pets, tmp_path / settings.mode, settings)
        assert len(report.failures) == 6
        assert len({item.path for item in report.failures}) == 6


@pytest.mark.parametrize("settings", [FinetuneSettings(), FULL])
def test_a_class_of_which_nothing_can_be_read_is_an_error(
    pets: Path, tmp_path: Path, settings: FinetuneSettings
) -> None:
    for path in (pets / "red").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="the class 'red' of pets has no readable training image"):
        finish(pets, tmp_path / "run", settings)


def test_the_card_says_where_it_comes_from_and_how_it_was_judged(pets: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    shutil.copytree(pets / "red", test / "red")
    events = list(run_finetune(tiny_bundle(), pets, tmp_path / "run", FinetuneSettings(), test))
    assert any(isinstance(event, PathPoint) for event in events)
    assert [event.train for event in events if isinstance(event, Images)] == [15]
    card = read_bundle(tmp_path / "run" / "bundle").card
    assert (card.name, card.classes, card.licence, card.labels_name) == ("wrn_10_1.pets", 3, "Apache-2.0", "")
    assert [(item.data, item.n, item.correct1, item.engine, item.precision) for item in card.measured] == [
        ("pets val", 3, 3, "openvino", "f32"), ("pets test", 6, 6, "openvino", "f32"),
    ]  # fmt: skip
    assert card.notes["split"] == "made: 0.2 of each class, seed 0: 0.167 of all images"
    assert card.notes["pictures"] == "15 for training, 3 for validation"
    assert card.notes["top-1 on pets val"] == "1.0000 (95 %: 0.4385 to 1.0000), n = 3"
    assert "val chose nothing" in card.notes["chosen"]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [15] * len(lines)


def test_from_python(pets: Path, tmp_path: Path) -> None:
    report = task.finetune(pets, tmp_path / "run", settings={"val_fraction": 0.4, "l2": [0.1]})
    assert (report.train, report.val, report.source) == (12, 6, "wrn_16_4.cifar10")
    assert finetune_full.BEST not in {path.name for path in (tmp_path / "run").iterdir()}


def test_photographs_need_a_source(pets: Path, tmp_path: Path) -> None:
    Image.new("RGB", (65, 40)).save(pets / "red" / "large.png")
    with pytest.raises(ConfigError, match="no model to start from"):
        task.finetune(pets, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_mode_may_be_one_of_the_settings(pets: Path, tmp_path: Path) -> None:
    settings = {"mode": "full", "flips": False}
    with pytest.raises(ConfigError, match="flips has no effect in the mode full"):
        task.finetune(pets, tmp_path / "run", settings=settings)
    with pytest.raises(ConfigError, match="mode is set twice: to probe and to full"):
        task.finetune(pets, tmp_path / "run", settings=settings, mode="probe")
    with pytest.raises(ConfigError, match="--device has no effect on a probe"):
        task.finetune(pets, tmp_path / "run", mode="probe", compute=ComputeOptions(device="cuda"))
    assert not (tmp_path / "run").exists()


def photographs(folder: Path, turned: bool) -> Path:
    """Three classes of four, bright above and dark below; ``turned``: stored on their side, and EXIF says so."""
    exif, shades = Image.Exif(), np.random.default_rng(0)
    exif[0x0112] = 6                               # to be turned clockwise
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(4):
            rgb = np.zeros((40, 44, 3), np.uint8)
            rgb[:20] = shades.integers(120, 256, (20, 44, 1)) * np.array(colour)
            if turned:
                Image.fromarray(np.rot90(rgb)).save(folder / name / f"{number}.png", exif=exif)
            else:
                Image.fromarray(rgb).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("settings", [FinetuneSettings(), FULL], ids=["probe", "full"])
def test_photographs_are_learnt_from_and_judged_upright(tmp_path: Path, settings: FinetuneSettings) -> None:
    upright, turned = (photographs(tmp_path / name, name == "turned") for name in ("upright", "turned"))
    first, second = (finish(folder, tmp_path / f"run {folder.name}", settings) for folder in (upright, turned))
    graphs = [read_bundle(Path(report.bundle)).graph for report in (first, second)]
    assert graphs[0] == graphs[1]
    assert second.evaluation.conditions is not None
    assert second.evaluation.conditions.exif == "transpose"
    assert second.evaluation.by_class == first.evaluation.by_class
    lying = finish(turned, tmp_path / "lying", settings.model_copy(update={"exif": "ignore"}))
    assert read_bundle(Path(lying.bundle)).graph != graphs[0]
    with pytest.raises(TrainingError, match="different: exif"):
        finish(turned, tmp_path / "lying", settings)
