"""``wrn train`` on class folders: from photographs to a model that classify and evaluate take as it is."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Wrn
from fakes import tiny_images
from mat5 import write_arrays
from wideresnet.bundle import read_bundle
from wideresnet.datasets import decoded_cache as decoded
from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.svhn import read_svhn
from wideresnet.tasks.train import train as task
from wideresnet.weights.read import read_tensors

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = 4
batch_size = 8
learning_rate = 0.05
stored = 20
sizes = [[0, 16]]
input_size = 18
input_resize = 20
"""
# Of 32×32 images.
SMALL = """
architecture = "wrn_10_1"
data = "{data}"
epochs = 4
batch_size = 16
learning_rate = 0.05
sizes = [[0, 8]]
"""
CLASSES = {"n01440764": "red", "n03126707": "blue"}                     # a tench, and the crane that is a machine


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """``pets``/train and /val: plain images of two classes, told apart by their colour."""
    shades = iter(np.random.default_rng(0).permutation(np.arange(120, 256)).tolist())      # no image twice
    for part, count in (("train", 12), ("val", 3)):
        for name, colour in CLASSES.items():
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for number in range(count):
                bright = next(shades)
                rgb = (bright, 0, 0) if colour == "red" else (0, 0, bright)
                Image.new("RGB", (30, 24), rgb).save(tmp_path / "pets" / part / name / f"{number:02}.png")
    (tmp_path / "pets.toml").write_text(RECIPE)
    return tmp_path / "pets"


def test_from_photographs_to_answers(wrn: Wrn, pets: Path) -> None:
    done = wrn("train", "pets.toml", "--data", pets, "--format", "json")
    skipped = {"by_ending": {}, "hidden": 0, "system_folders": 0, "notes": []}
    assert (done.code, done.err) == (0, "")
    assert done.json == {"run": "runs/pets", "epochs": 4, "top1": 100.0, "failures": 0, "skipped": skipped}
    again = wrn("train", "pets.toml", "--data", pets, "--format", "json")
    assert again.json == done.json, "a finished run that is asked for again tells what it came to"
    page = Path("runs/pets/curves.html").read_text("utf-8")
    for part in ("The first batch", "training images of 2 classes", "Learning rate", "test loss", "<dt>command</dt>"):
        assert part in page
    model = "runs/pets/model.safetensors"
    report = wrn("evaluate", pets / "val", "-m", model, "--format", "json").json
    assert (report["n"], report["top1"]) == (6, 100.0)
    answer = wrn("classify", pets / "val/n03126707", "-m", model, "--format", "json").json[0]
    assert "crane" in answer["predictions"][0]["label"]

    assert wrn("export", "-m", model, "-o", "mine").code == 0
    bundle = read_bundle(Path("mine"))
    assert (bundle.card.name, bundle.card.classes, bundle.card.licence) == ("wrn_10_1.pets", 2, "unknown")
    assert (bundle.card.preprocess.resize, bundle.card.preprocess.crop) == (20, 18)
    assert bundle.labels.ids == tuple(CLASSES)
    assert wrn("evaluate", pets / "val", "-m", "mine", "--format", "json").json["top1"] == 100.0


def test_the_run_says_what_it_was_trained_on(wrn: Wrn, pets: Path) -> None:
    (pets / "train/n01440764/broken.png").write_bytes(b"no image")
    done = wrn("train", "pets.toml", "--data", "pets")
    assert done.code == 1, "an image could not be read"
    assert "broken.png: not an image" in done.err
    assert "pets: 24 images of 2 classes for training, 6 for validation" in done.err
    inputs = json.loads(Path("runs/pets/data.json").read_text())
    assert (inputs["name"], inputs["train"], inputs["test"]) == ("pets", 24, 6)
    assert inputs["labels"]["ids"] == list(CLASSES)
    assert [Path(failure["path"]).name for failure in inputs["failures"]] == ["broken.png"]


def test_a_run_goes_on_with_the_same_images_only(wrn: Wrn, pets: Path) -> None:
    assert wrn("train", "pets.toml", "--data", "pets").code == 0
    assert wrn("train", "pets.toml", "--data", pets).code == 0, "the same by another path"
    shutil.copy(pets / "val/n01440764/00.png", pets / "train/n01440764/more.png")
    done = wrn("train", "pets.toml", "--data", "pets")
    assert (done.code, "holds a run on other images; different: train" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "pets.toml trains on your own class folders"),
        (["--data", "absent"], "has no folder 'absent'"),
        (["--data", "pets/train"], "pets/train holds no splits"),
        (["--data", "pets", "--set", "stored=10"], "stored images of 10 pixels are smaller than the largest of sizes"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error_before_anything_is_written(
    wrn: Wrn, pets: Path, arguments: list[str], reason: str
) -> None:
    done = wrn("train", "pets.toml", *arguments)
    assert (done.code, reason in done.err) == (2, True)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("-o", "pets/train/run"), "pets/train/run is among the class folders of pets/train, and would be a class"),
        (("--cache", "pets/val/kept"), "pets/val/kept is among the class folders of pets/val"),
        (("-o", "pets/run"), ""),
    ],
)
def test_a_run_does_not_become_a_class(wrn: Wrn, pets: Path, arguments: tuple[str, ...], error: str) -> None:
    done = wrn("train", "pets.toml", "--data", "pets", "--set", "epochs=1", *arguments)
    assert (done.code, error in done.err) == (2 if error else 0, True)
    folders = [{path.name for path in (pets / part).iterdir()} for part in ("train", "val")]
    assert folders == [{*CLASSES}, {*CLASSES}]


def test_an_unknown_setting_is_refused_with_a_suggestion(wrn: Wrn, pets: Path) -> None:
    done = wrn("train", "pets.toml", "--data", "pets", "--set", "epoch=3")
    assert (done.code, done.out) == (2, "")
    assert "no setting called 'epoch'" in done.err
    assert "did you mean 'epochs'?" in done.err


def test_seeds_have_a_folder_each_and_one_report(wrn: Wrn, pets: Path) -> None:
    plain = "train", "pets.toml", "--data", "pets", "--set", "epochs=2"
    alone, command = wrn(*plain, "-o", "alone", "--set", "seed=5", "--format", "json"), (*plain, "--set", "seed=4")
    done = wrn(*command, "--seeds", "2", "--format", "json")
    assert (done.code, done.err) == (0, "")
    runs = [(run["seed"], run["run"]) for run in done.json["runs"]]
    assert runs == [(4, "runs/pets/seed-4"), (5, "runs/pets/seed-5")]
    assert done.json["runs"][1]["top1"] == alone.json["top1"]
    first, second = (read_tensors(Path(run) / "model.safetensors") for run in ("alone", "runs/pets/seed-5"))
    assert all(np.array_equal(first[key], second[key]) for key in first), "the seed's run as if it were alone"
    low, high = sorted(run["top1"] for run in done.json["runs"])
    assert done.json["mean"] == pytest.approx((low + high) / 2, abs=1e-3)
    assert json.loads(Path("runs/pets/seeds.json").read_text()) == done.json
    assert "seed 5" in Path("runs/pets/seeds.html").read_text("utf-8")
    stamp = Path("runs/pets/seed-4/checkpoint.pt").stat().st_mtime_ns
    again = wrn(*command, "--seeds", "3")
    assert again.code == 0
    assert Path("runs/pets/seed-4/checkpoint.pt").stat().st_mtime_ns == stamp, "a finished run is not trained again"
    assert "n = 3); 95 % interval of the mean" in again.out
    assert "n = 2 of 3" in again.err, "after the second seed"
    assert "runs/pets/seeds.html: the curves of all seeds" in again.out
    for arguments, reason in (
        ((), "runs/pets holds the runs of several seeds"),
        (("--seeds", "2"), "runs/pets holds runs of other seeds: seed-6"),
        (("--seeds", "2", "--set", "seed=5"), "runs/pets holds runs of other seeds: seed-4"),
        (("--seeds", "2", "-o", "alone"), "alone holds the run of a single seed"),
        (("--seeds", "2", "--set", "seed=4294967295"), "the last seed would be 4294967296"),
        (("--set", "seed=4294967296"), "seed: Input should be less than 4294967296"),
    ):
        refused = wrn(*(plain if "seed=" in str(arguments) else command), *arguments)
        assert (refused.code, reason in refused.err) == (2, True), refused.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seeds", "2", "--tensorboard"], "--tensorboard has no effect with --seeds"),
        (["--seeds", "1"], "greater than or equal to 2"),
    ],
)
def test_seeds_that_have_no_effect_are_refused(wrn: Wrn, pets: Path, arguments: list[str], reason: str) -> None:
    done = wrn("train", "pets.toml", "--data", "pets", *arguments)
    assert (done.code, reason in done.err) == (2, True)
    assert not Path("runs").exists()


def test_folders_that_make_an_accuracy_worthless_are_refused_or_said(wrn: Wrn, pets: Path) -> None:
    shutil.rmtree(pets / "val/n03126707")
    (pets / "val/n03126707").symlink_to(pets / "train/n03126707")
    (pets / "train/N03126707").mkdir()
    shutil.copy(pets / "train/n03126707/00.png", pets / "train/N03126707/00.png")
    done = wrn("train", "pets.toml", "--data", "pets", "-o", "run", "--set", "epochs=1")
    assert "12 images are in train and in val, so that the figure on val is too optimistic" in done.err
    (pets / "val/n03126707").unlink()
    shutil.copytree(pets / "train/n03126707", pets / "val/n03126707")
    done = wrn("train", "pets.toml", "--data", "pets", "-o", "copied", "--set", "epochs=1")
    assert "12 images are in train and in val, so that the figure on val is too optimistic" in done.err
    assert "has N03126707/ and n03126707/: classes of their own that differ in case or blanks only" in done.err
    shutil.rmtree(pets / "train/N03126707")
    for part in ("train", "val"):
        shutil.move(pets / part / "n03126707", f"moved-{part}")
    for arguments in (("-o", "one"), ("--dry-run",)):
        done = wrn("train", "pets.toml", "--data", "pets", *arguments)
        assert (done.code, Path("one/checkpoint.pt").exists()) == (2, False)
        assert "pets holds one class only, 'tench, Tinca tinca'" in done.err


def test_a_training_set_smaller_than_the_validation_set_is_said(wrn: Wrn, pets: Path) -> None:
    """As where the two folders are mixed up."""
    for old, new in (("train", "x"), ("val", "train"), ("x", "val")):
        (pets / old).rename(pets / new)
    for arguments in (("-o", "one", "--set", "epochs=1"), ("--dry-run",)):
        done = wrn("train", "pets.toml", "--data", "pets", "--set", "batch_size=2", *arguments)
        assert (done.code, "6 training images, fewer than the 24 for validation" in done.err) == (0, True)


def test_a_run_does_not_continue_on_other_images_of_the_same_number(wrn: Wrn, pets: Path) -> None:
    command = ("train", "pets.toml", "--data", "pets", "-o", "run", "--set", "epochs=1")
    assert wrn(*command).code == 0
    assert wrn(*command).code == 0
    file = pets / "val/n01440764/00.png"
    kept = file.read_bytes()
    Image.new("RGB", (30, 24), (1, 2, 3)).save(file)
    done = wrn(*command)
    assert done.code == 2
    assert "run holds a run on other images; different: sample" in done.err
    file.write_bytes(kept)
    document = json.loads(Path("run/data.json").read_text())
    del document["sample"]                         # as older versions wrote it
    Path("run/data.json").write_text(json.dumps(document))
    assert wrn(*command).code == 0
    Path("run/data.json").write_text("{")
    assert "run/data.json is damaged" in wrn(*command).err


def test_sizes_that_are_never_reached_and_the_time_of_all_seeds_are_said(wrn: Wrn, pets: Path) -> None:
    sizes = ("--set", "sizes=[[0, 8], [4, 12], [9, 16]]")
    done = wrn("train", "pets.toml", "--data", "pets", "--dry-run", "--seeds", "3", *sizes)
    assert "note: sizes from epoch 4 on are not reached, with epochs = 4: the last images have 8 pixels" in done.err
    assert "3 seeds, one after another: about" in done.out


def test_views_that_never_repeat_are_said(wrn: Wrn, pets: Path) -> None:
    changes = ("epochs=4", "teacher_views=4", "architecture=wrn_10_1", "batch_size=2")
    arguments = (argument for change in changes for argument in ("--set", change))
    done = wrn("train", "wrn-16-1-cifar10-distilled", "--dry-run", *arguments)
    assert "note: no view repeats, with epochs = 4: teacher_views has no effect" in done.err


def test_a_dry_run_says_what_it_would_take_and_trains_nothing(wrn: Wrn, pets: Path) -> None:
    done = wrn("train", "pets.toml", "--data", "pets", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert "pets: 24 images of 2 classes, 6 to test" in done.out
    assert "12 steps and 4 evaluations" in done.out
    document = wrn("train", "pets.toml", "--data", "pets", "--dry-run", "--set", "epochs=5", "--format", "json").json
    assert (document["steps"], document["evaluations"], document["architecture"]) == (15, 5, "wrn_10_1")
    (phase,) = document["phases"]
    assert (phase["first"], phase["last"], phase["side"], phase["rates"]) == (0, 4, 16, [0.05] * 3)
    assert not Path("runs").exists()


def test_images_kept_on_a_disk_train_the_same_network(
    wrn: Wrn, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pets / "train/n01440764/broken.png").write_bytes(b"no image")
    command = "train", "pets.toml", "--data", "pets"
    assert wrn(*command, "-o", "memory").code == 1
    assert wrn(*command, "-o", "disk", "--cache", "kept").code == 1
    monkeypatch.setattr(decoded, "load_batches", None)
    done = wrn(*command, "-o", "again", "--cache", "kept")
    assert (done.code, done.err.count("broken.png: not an image")) == (1, 1)
    assert "pets: 24 images of 2 classes for training, 6 for validation" in done.err
    memory, *repeated = (read_tensors(Path(run) / "model.safetensors") for run in ("memory", "disk", "again"))
    assert all(np.array_equal(memory[key], resumed[key]) for resumed in repeated for key in memory)


def test_a_dry_run_says_what_the_disk_would_hold(wrn: Wrn, pets: Path) -> None:
    document = wrn("train", "pets.toml", "--data", "pets", "--dry-run", "--cache", "kept", "--format", "json").json
    assert document["disk_mb"] * 2**20 == 3 * (24 * 20**2 + 6 * 18**2)
    assert document["pictures_mb"] == 0
    assert not Path("kept").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_what_has_no_files_to_decode_needs_no_cache(wrn: Wrn, pets: Path, more: list[str]) -> None:
    Path("digits.toml").write_text(SMALL.format(data="svhn"))
    done = wrn("train", "digits.toml", "--data", "pets", "--cache", "kept", *more)
    assert (done.code, "--cache has no effect with data = 'svhn'" in done.err) == (2, True)


def test_a_dry_run_of_a_named_data_set_needs_no_data(wrn: Wrn, pets: Path) -> None:
    Path("digits.toml").write_text(SMALL.format(data="svhn"))
    document = wrn("train", "digits.toml", "--dry-run", "--set", "batch_size=100", "--format", "json").json
    assert document["steps"] == 4 * 6043
    done = wrn("train", "digits.toml")
    assert (done.code, "digits.toml trains on SVHN's three .mat files" in done.err) == (2, True)
    done = wrn("train", "pets.toml", "--dry-run")
    assert (done.code, "class folders" in done.err) == (2, True)


def test_digits_are_learnt_from_the_three_files(wrn: Wrn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(task.READERS, "svhn", partial(read_svhn, verify=False))
    digits = np.array([10, 1] * 16)
    images = np.where(digits[:, None, None, None] == 1, 255, 0) * np.ones((1, 32, 32, 3))
    for name in ("train_32x32.mat", "extra_32x32.mat", "test_32x32.mat"):
        arrays = {"X": images.astype(np.uint8).transpose(1, 2, 3, 0), "y": digits.astype(float)[:, None]}
        (tmp_path / name).write_bytes(write_arrays(arrays))
    Path("digits.toml").write_text(SMALL.format(data="svhn"))
    plan = wrn("train", "digits.toml", "--data", ".", "--dry-run", "--format", "json").json
    assert (plan["data"], plan["train"], plan["test"], plan["steps_per_epoch"]) == ("svhn", 64, 32, 4)
    done = wrn("train", "digits.toml", "--data", ".", "--format", "json")
    assert (done.code, done.json["top1"]) == (0, 100.0)
    assert wrn("export", "-m", "runs/digits/model.safetensors", "-o", "bundle").code == 0
    card = read_bundle(Path("bundle")).card
    assert (card.name, card.labels_name, card.preprocess.std) == ("wrn_10_1.svhn", "svhn", (1.0, 1.0, 1.0))
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save("black.png")
    assert wrn("classify", "black.png", "-m", "bundle", "--format", "json").json[0]["predictions"][0]["label"] == "0"


def test_a_network_of_whitened_images_is_measured_and_not_exported(
    wrn: Wrn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, images = np.arange(32) % 2, tiny_images(32, 8)
    monkeypatch.setitem(task.READERS, "cifar10", lambda path: CifarArrays(images, labels, images, labels))
    Path("white.toml").write_text(SMALL.format(data="cifar10") + 'whitening = "zca"\n')
    done = wrn("train", "white.toml", "--data", tmp_path)
    assert (done.code, "bundle" in done.out) == (0, False)
    assert "cifar10: 32 images of 10 classes for training, 32 for testing" in done.err
    assert len(Path("runs/white/log.jsonl").read_text().splitlines()) == 4
    done = wrn("export", "-m", "runs/white/model.safetensors", "-o", "bundle")
    assert (done.code, "was trained on whitened images" in done.err) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_a_run_in_words_and_leaves_it_resumable(wrn: Wrn, pets: Path) -> None:
    assert wrn("train", "pets.toml", "--data", "pets", "-o", "whole", "--format", "json").code == 0
    Path("run").mkdir()
    Path("run/.checkpoint.pt.part").symlink_to("/dev/full")
    done = wrn("train", "pets.toml", "--data", "pets", "-o", "run")
    assert (done.code, "No space left on device" in done.err) == (2, True)
    assert not Path("run/checkpoint.pt").exists()
    assert wrn("train", "pets.toml", "--data", "pets", "-o", "run").code == 0
    undisturbed, cut = (read_tensors(Path(run) / "model.safetensors") for run in ("whole", "run"))
    assert all(np.array_equal(undisturbed[key], cut[key]) for key in undisturbed)


def test_a_result_that_cannot_be_written_is_an_error_in_words(
    wrn: Wrn, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(task, "save_tensors", full)
    done = wrn("train", "pets.toml", "--data", "pets")
    assert (done.code, "cannot write runs/pets/model.safetensors" in done.err) == (2, True)


def test_tensorboard_is_an_option_and_the_log_is_not(
    wrn: Wrn, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = wrn("train", "pets.toml", "--data", "pets", "--tensorboard")
    assert (done.code, "pip install 'wideresnet[tensorboard]'" in done.err) == (2, True)
    assert not Path("runs").exists()
    assert wrn("train", "pets.toml", "--data", "pets").code == 0
    lines = [json.loads(line) for line in Path("runs/pets/log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
