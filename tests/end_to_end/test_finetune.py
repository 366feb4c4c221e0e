"""``wrn finetune``: from class folders to a bundle that every other command takes as it is."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from commands import Wrn
from wideresnet.bundle import read_bundle
from wideresnet.training import loop

CLASSES = {"n01440764": "red", "n03126707": "blue"}                     # a tench, and the crane that is a machine


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Plain images of two classes, told apart by their colour; five of each."""
    for name, colour in CLASSES.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            bright = 140 + 20 * number
            rgb = (bright, 0, 0) if colour == "red" else (0, 0, bright)
            Image.new("RGB", (44, 40), rgb).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


def test_from_five_images_a_class_to_answers(wrn: Wrn, pets: Path, tiny: Path) -> None:
    done = wrn("finetune", "--from", tiny, "--data", pets, "-o", "run", "--format", "json")
    assert (done.code, done.notes.count("\n")) == (0, 1)
    assert done.notes.startswith("note: not calibrated: pets val has 2 images")
    assert done.notes.endswith("; wrn calibrate -m run/bundle --data LABELLED -o BUNDLE\n")
    assert (done.json["mode"], done.json["train"], done.json["val"]) == ("probe", 8, 2)
    assert done.json["evaluation"]["top1"] == 100.0
    assert {path.name for path in Path("run").iterdir()} == {
        "bundle", "features", "log.jsonl", "report.html", "run.json", "settings.toml", "train.csv", "val.csv",
    }  # fmt: skip
    # The bundle is taken as it is, and the split as an index.
    report = wrn("evaluate", "run/val.csv", "-m", "run/bundle", "--format", "json").json
    assert (report["n"], report["correct1"]) == (2, done.json["evaluation"]["correct1"])
    answer = wrn("classify", pets / "n03126707", "-m", "run/bundle", "--format", "json").json[0]
    assert "crane" in answer["predictions"][0]["label"]
    options = "--precision", "fp16", "--data", "run/val.csv", "--gate", "100", "-o", "half"
    assert wrn("compile", "-m", "run/bundle", *options).code == 0
    assert "wrn_10_1.pets was trained on 8 of the 10 images" in wrn("evaluate", pets, "-m", "run/bundle").err
    assert read_bundle(Path("half")).labels.ids == tuple(CLASSES)
    again = wrn("finetune", "--from", "run/bundle", "--data", pets, "-o", "second")
    assert again.code == 0, again.err


def test_the_page_and_the_lines_say_what_was_chosen_by_what(wrn: Wrn, pets: Path, tiny: Path) -> None:
    done = wrn("finetune", "--from", tiny, "--data", pets, "-o", "run", "--test", pets)
    assert done.code == 0, done.err
    assert "pets: 8 images of 2 classes for training, 2 for validation" in done.err
    assert "held out" in done.err
    assert "top-1 100.00 % (95 %: 34.24 to 100.00, n = 2) on pets val" in done.out
    assert "on pets test" in done.out
    assert "val chose nothing" in done.out
    page = Path("run/report.html").read_text()
    for phrase in ("Regularisation", "source weights", "answered by the bundle as it was written", "Conditions"):
        assert phrase in page


@pytest.mark.usefixtures("one_thread")
def test_the_whole_network(wrn: Wrn, pets: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The loop would take every CPU, whatever ``one_thread`` said.
    monkeypatch.setattr(loop, "available_cpus", lambda: 1)
    Path("mine.toml").write_text('mode = "full"\nepochs = 3\nsizes = [[0, 16], [2, 24]]\n')
    arguments = ("finetune", "--from", tiny, "--data", pets, "-o", "run", "--config", "mine.toml", "--set", "epochs=2")
    done = wrn(*arguments)
    assert done.code == 0, done.err
    assert "epoch   2  loss" in done.err
    assert "note: sizes from epoch 2 on are not reached, with epochs = 2: the last images have 16 pixels" in done.err
    assert [json.loads(line)["epoch"] for line in Path("run/log.jsonl").read_text().splitlines()] == [0, 1]
    assert {"checkpoint.pt", "best.safetensors", "recipe.toml"} <= {path.name for path in Path("run").iterdir()}
    assert "The epochs as a table" in (page := Path("run/report.html").read_text())
    assert "The first batch" in page
    first = read_bundle(Path("run/bundle"))
    assert "val chose epoch" in first.card.notes["chosen"]
    assert wrn("finetune", "--from", tiny, "--data", pets, "-o", "run", "--config", "run/settings.toml").code == 0
    assert read_bundle(Path("run/bundle")).graph == first.graph
    assert wrn(*arguments, "-o", "disk", "--cache", "kept").code == 0
    assert read_bundle(Path("disk/bundle")).graph == first.graph
    assert {folder.name.rpartition("-")[0] for folder in Path("kept").iterdir()} == {"pets-train-37", "pets-val-32"}
    resumed = wrn(*arguments[:-1], "epochs=1")
    assert (resumed.code, "different: epochs" in resumed.err) == (2, True)


def test_a_image_that_cannot_be_read_is_listed_and_the_exit_code_says_so(wrn: Wrn, pets: Path, tiny: Path) -> None:
    (pets / "n01440764" / "broken.png").write_bytes(b"no image")
    done = wrn("finetune", "--from", tiny, "--data", pets, "-o", "run")
    assert done.code == 1
    assert done.err.count("broken.png: not an image") == 1
    with Path("run/train.csv").open() as train, Path("run/val.csv").open() as val:
        assert len([*csv.DictReader(train), *csv.DictReader(val)]) == 11
    done = wrn("finetune", "--from", tiny, "--data", pets, "-o", "run", "--format", "json")
    assert (done.json["train"] + done.json["val"], len(done.json["failures"])) == (10, 1)
    told = json.loads(Path("run/bundle/card.json").read_text())["notes"]["pictures"]
    counts = done.json["train"], done.json["val"]
    assert told == "{} for training, {} for validation".format(*counts), "of those that could be read"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data", "absent"], "has no folder 'absent'"),
        (["--data", "pets/n01440764"], "holds no class folders"),
        (["--data", "pets", "--set", "flip"], "--set takes key=value, got 'flip'"),
        (["--data", "pets", "--set", "flps=false"], "did you mean 'flips'"),
        (["--data", "split", "--val-fraction", "0.3"], "--val-fraction has no effect: split is divided already"),
        (["--data", "pets", "--val-fraction", "30"], "less than 1, got 30.0\nhint:  it is a fraction: 0.3 is 30 %"),
        (["--data", "pets", "--set", "val_fraction=30"], "0.3 is 30 %"),
        (["--data", "pets", "--set", "share=0.3"], "hint:  write val_fraction"),
        (["--data", "pets", "--share", "30"], "no option --share\nhint:  use --val-fraction 0.2"),
        (["--data", "pets", "--mode", "full", "--set", "label_smoothing=10"], "it is a fraction: 0.1 is 10 %"),
        (["--data", "pets", "--cache", "kept"], "--cache has no effect on a probe"),
        (["--data", "pets", "--from", "wrn_16_4.cifar"], "did you mean 'wrn_16_4.cifar10'"),
    ],
)
def test_what_cannot_be_done_is_an_error_before_anything_is_written(
    wrn: Wrn, pets: Path, arguments: list[str], reason: str
) -> None:
    for part in ("train", "val"):
        shutil.copytree(pets, f"split/{part}")
    done = wrn("finetune", "--from", "wrn_16_4.cifar10", "-o", "run", *arguments)
    assert (done.code, reason in done.err) == (2, True), done.err
    assert not Path("run").exists()


def test_a_probe_needs_no_torch(tmp_path: Path, pets: Path, tiny: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None
import wideresnet
report = wideresnet.finetune({str(pets)!r}, {str(tmp_path / "run")!r}, {str(tiny)!r})
print(report.evaluation.n)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def test_other_images_of_the_same_names_and_sizes_are_another_run(wrn: Wrn, pets: Path, tiny: Path) -> None:
    """As a camera writes them that does not compress."""
    for number, name in enumerate(CLASSES):
        for file in (pets / name).iterdir():
            file.unlink()
            Image.new("RGB", (44, 40), (100 * number, int(file.stem), 9)).save(file.with_suffix(".bmp"))
    command = "finetune", "--from", tiny, "--data", "pets", "-o", "run"
    assert (wrn(*command).code, wrn(*command).code) == (0, 0)
    identity = json.loads(Path("run/run.json").read_text())
    Image.new("RGB", (44, 40), (1, 2, 3)).save(pets / "n01440764" / "0.bmp")
    done = wrn(*command)
    assert (done.code, "run holds another run; different: sample" in done.err) == (2, True)
    del identity["sample"]                         # as older versions wrote it
    Path("run/run.json").write_text(json.dumps(identity))
    assert wrn(*command).code == 0
    assert len(list(Path("run/features").iterdir())) == 2, "no features of other images are taken"


def test_what_is_odd_about_the_division_is_said(wrn: Wrn, pets: Path, tiny: Path) -> None:
    """Fractions that few images cannot have, classes of one image, and names that differ in case or blanks."""
    (pets / "N01440764 ").mkdir()
    Image.new("RGB", (44, 40), "green").save(pets / "N01440764 " / "0.png")
    done = wrn("finetune", "--from", tiny, "--data", "pets", "-o", "run", "--val-fraction", "0.99999")
    assert done.code == 0
    for note in (
        "8 of 11 images are in val, not 0.99999: one a class at least",
        "3 training images, fewer than the 8 for validation",
        "1 of 3 classes have one image only, which is none of validation",
        "pets has N01440764 / and n01440764/: classes of their own that differ in case or blanks only",
    ):
        assert note in done.err
    done = wrn("finetune", "--from", tiny, "--data", "pets", "-o", "other", "--val-fraction", "0.00001")
    assert "2 of 11 images are in val, not 1e-05: one a class at least" in done.err


def test_images_that_are_learnt_from_and_test_are_counted(wrn: Wrn, tmp_path: Path) -> None:
    """Also where a link makes them look like others."""
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for side in range(32, 36):
            Image.new("RGB", (side, 32), colour).save(tmp_path / "pets" / name / f"{side}.png")
    done = wrn("finetune", "--from", "wrn_16_4.cifar10", "--data", "pets", "--test", "pets", "-o", "run")
    assert (done.code, "6 images are in train and in pets test, so that the figure" in done.err) == (0, True)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "train").symlink_to(tmp_path / "pets")
    (tmp_path / "both" / "val").symlink_to(tmp_path / "pets")
    done = wrn("finetune", "--from", "wrn_16_4.cifar10", "--data", "both", "-o", "other", "--format", "json")
    note = "8 images are in train and in val, so that the figure on val is too optimistic"
    assert note in done.json["skipped"]["notes"]
