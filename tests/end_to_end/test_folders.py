"""Folders as people have them: splits, system folders, other formats, pipes and nothing at all, in every command."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import wideresnet
from commands import Done, Wrn
from runs import RECIPE
from wideresnet import pipes
from wideresnet.bundle import read_bundle
from wideresnet.errors import ConfigError
from wideresnet.tasks.quantize import compile as compilation
from wideresnet.tasks.quantize.compile import CompileSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")

NAMES = ("cat", "dog")                             # classes of CIFAR-10, too


def fill(root: Path, *folders: str, images: int = 3) -> Path:
    """``root`` with images of noise in ``folders``."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(images):
            noise = np.random.default_rng(100 * number + index).integers(0, 256, (36, 36, 3), np.uint8)
            Image.fromarray(noise).save(root / folder / f"{index}.png")
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two class folders with what Macs, network disks, telephones and programs leave among the images."""
    root = fill(tmp_path / "pets", *NAMES)
    for name in ("cat/._0.png", "dog/Thumbs.db", "dog/raw.DNG", "notes.json"):
        (root / name).write_bytes(b"x")
    fill(root, "__MACOSX/cat", "cat/@eaDir/0.png", ".ipynb_checkpoints")
    return root


COUNTS = {"by_ending": {".dng": 1, ".json": 1}, "hidden": 2, "system_folders": 3, "notes": []}
LINE = (
    "passed over 2 files in {}: 1 .dng, 1 .json; 2 hidden or system files; 3 hidden or system folders"
    " (convert .dng to JPEG or TIFF)\n"
)


def listed(answers: Done) -> list[str]:
    return [Path(each["path"]).name for each in answers.json]


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "pets", "-o", "features.npy"),
        ("finetune", "--from", "tiny", "--data", "pets", "-o", "run"),
        ("evaluate", "pets", "-m", "tiny", "--skip-order-check"),
        ("compile", "-m", "tiny", "--precision", "fp16", "--data", "pets", "--gate", "none", "-o", "half"),
    ],
)
def test_what_is_passed_over_is_in_the_report_and_one_line_on_stderr(
    wrn: Wrn, pets: Path, tiny: Path, arguments: tuple[str, ...]
) -> None:
    done = wrn(*arguments, "--format", "json")
    assert done.code in (0, 1), done.err           # a gate may fail
    assert done.json["skipped"] == COUNTS
    assert done.err.endswith(LINE.format("pets"))


@pytest.mark.parametrize("command", ["classify", "explain"])
def test_lists_of_answers_stay_lists_and_stderr_says_the_rest(wrn: Wrn, pets: Path, tiny: Path, command: str) -> None:
    done = wrn(command, "pets", "-m", tiny, "--format", "json")
    assert (done.code, done.notes) == (0, LINE.format("pets"))
    assert listed(done) == ["0.png", "1.png", "2.png"] * 2


def test_a_resumed_file_is_the_same_and_says_what_was_passed_over(wrn: Wrn, pets: Path, tiny: Path) -> None:
    done = wrn("classify", "pets", "-m", tiny, "--format", "csv", "-o", "answers.csv")
    assert (done.code, done.notes) == (0, "answers.csv: csv, 6 images, 0 failed\n" + LINE.format("pets"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "cats", "none"),
        ("classify", "none", "--format", "csv", "-o", "out.csv"),
        ("embed", "cats", "none", "-o", "out.npy"),
        ("explain", "none", "--report", "out.html"),
        ("evaluate", "none"),
        ("evaluate", "none", "--labels-file", "truth.csv"),
        ("finetune", "--data", "none", "-o", "out"),
        ("compile", "--calibration", "none", "--data", "cats", "-o", "out"),
        ("compile", "--precision", "fp16", "--data", "none", "-o", "out"),
        ("bench", "--data", "none", "--what", "end-to-end"),
    ],
)
def test_a_folder_without_images_is_an_error_that_names_what_is_there(
    wrn: Wrn, tiny: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    fill(tmp_path, "cats")
    (tmp_path / "none" / "cat").mkdir(parents=True)
    (tmp_path / "none" / "cat" / "IMG_1.DNG").write_bytes(b"x")
    Path("truth.csv").write_text("IMG_1.DNG,cat\n")
    done = wrn(*arguments, "--from" if arguments[0] == "finetune" else "-m", tiny)
    assert (done.code, done.out) == (2, "")
    assert "1 .dng" in done.err
    assert not [path for path in Path().iterdir() if path.name.startswith("out")]


@pytest.mark.parametrize("name", ["empty.tar", "text.tar", "shards", "empty.parquet", "empty"])
@pytest.mark.parametrize("command", ["classify NAME", "embed NAME -o out.npy", "explain NAME --report out.html"])
def test_shards_without_images_are_an_error(wrn: Wrn, tiny: Path, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "empty").mkdir()
    Path("a.txt").write_text("text")
    for path in ("empty.tar", "text.tar", "shards/1.tar", "shards/2.tar"):
        with tarfile.open(path, "w") as archive:
            if path != "empty.tar":
                archive.add("a.txt")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), "empty.parquet")
    done = wrn(*command.replace("NAME", name).split(), "-m", tiny)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: no images in {name}\nhint: ")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("more", [(), ("--format", "json"), ("-o", "out.csv")])
def test_an_empty_standard_input_is_an_error(wrn: Wrn, tiny: Path, more: tuple[str, ...]) -> None:
    done = wrn("classify", "-", "-m", tiny, *more)
    assert (done.code, done.out, Path("out.csv.part").exists()) == (2, "", False)
    assert done.err.startswith("error: standard input is empty\nhint: ")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("classify,", "PATHS"), ("classify,photos,", "PATHS"), ("embed,,-o,x.npy", "PATHS"),
        ("explain,,--report,x.html", "PATHS"), ("evaluate,", "DATA"), ("finetune,--data,,-o,x", "--data"),
        ("train,", "RECIPE"), ("compare,,b", "A"), ("data,imagenet,,-o,x", "SOURCES"), ("serve,-m,", "--model"),
        ("classify,photos,-o,", "--output"), ("info,", "MODEL"), ("evaluate,photos,--shard,", "--shard"),
        ("classify,photos,--ray,", "--ray"),
    ],
)  # fmt: skip
def test_an_empty_string_is_not_the_current_folder(wrn: Wrn, photos: Path, command: str, name: str) -> None:
    done = wrn(*command.split(","))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {name} is an empty string\nhint: ")


def test_a_weights_file_is_not_checked_with_an_empty_folder(wrn: Wrn, tiny: Path) -> None:
    Path("empty").mkdir()
    wrn("export", "-m", tiny, "-o", "a.safetensors", "--format", "safetensors")
    done = wrn("identify", "a.safetensors", "--images", "empty")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: no images in empty\n")


def test_identify_lists_the_images_that_it_cannot_read(
    wrn: Wrn, tiny: Path, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("ACTIVATIONS", ("relu",)), ("SHORTCUTS", ("activated",)), ("FURTHER", {})):
        monkeypatch.setattr(f"wideresnet.tasks.identify.identify.{name}", few)
    (pets / "cat" / "broken.jpg").write_bytes(b"no image")
    (pets / "notes.txt").write_text("two cats")
    wrn("export", "-m", tiny, "-o", "a.safetensors", "--format", "safetensors")
    done = wrn("identify", "a.safetensors", "--images", pets)
    assert (done.code, "best: --normalise" in done.out) == (1, True)
    assert "broken.jpg" in done.err
    assert f"{pets}: 1 .dng, 1 .json, 1 .txt" in done.err


def test_an_index_without_rows_is_an_error(wrn: Wrn, tiny: Path) -> None:
    Path("index.csv").write_text("path,label\n")
    done = wrn("evaluate", "index.csv", "-m", tiny)
    assert (done.code, "index.csv has a header and lists no images" in done.err) == (2, True)


@pytest.fixture
def with_pipe(pets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pipes, "WAIT", 1000.0)     # nobody may wait
    os.mkfifo(pets / "cat" / "pipe.jpg")
    return pets


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "pets"),
        ("classify", "pets", "--dedupe"),
        ("embed", "pets", "-o", "features.npy"),
        ("explain", "pets", "--report", "page.html"),
        ("evaluate", "pets", "--skip-order-check"),
        ("evaluate", "pets", "--skip-order-check", "-o", "scores.csv", "--report", "page.html"),
        ("finetune", "--data", "pets", "-o", "run"),
    ],
)
def test_a_pipe_in_a_folder_is_one_failure_among_the_answers(
    wrn: Wrn, with_pipe: Path, tiny: Path, arguments: tuple[str, ...]
) -> None:
    done = wrn(*arguments, "--from" if arguments[0] == "finetune" else "-m", tiny)
    assert done.code == 1
    assert "pipe.jpg: not a regular file: a named pipe" in done.err


def test_a_benchmark_refuses_a_pipe(wrn: Wrn, with_pipe: Path, tiny: Path) -> None:
    done = wrn("bench", "-m", tiny, "--data", "pets", "--what", "end-to-end")
    assert (done.code, "pipe.jpg is not a regular file: a named pipe" in done.err) == (2, True)


def test_a_pipe_that_is_named_and_stdin_are_given_up_without_data(
    wrn: Wrn, pets: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "WAIT", 0.05)
    os.mkfifo("pipe")
    done = wrn("classify", "pipe", pets / "cat/0.png", "-m", tiny, "--format", "json")
    assert (done.code, [each.get("error") for each in done.json]) == (1, ["not a regular file: a named pipe", None])
    for option in ("--labels", "--weights"):
        done = wrn("classify", pets / "cat/0.png", "-m", "wide_resnet50_2.tv_in1k", option, "pipe")
        assert done.code == 2, done.err
    done = wrn("evaluate", pets, "--labels-file", "pipe", "-m", tiny)
    assert (done.code, "no data came within 0.05 s" in done.err) == (2, True)


def test_fine_tuning_takes_splits_by_their_names(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    fill(tmp_path / "zip" / "pets", *(f"{split}/{name}" for split in ("Training", "dev_set", "Test") for name in NAMES))
    done = wrn("finetune", "--from", tiny, "--data", "zip", "-o", "run", "--format", "json")
    assert done.code == 0, done.err
    assert read_bundle(Path("run/bundle")).labels.names == NAMES
    assert (done.json["train"], done.json["val"], done.json["test"]) == (6, 6, None)
    _, note = done.json["skipped"]["notes"]
    assert note in done.err
    assert "--test zip/pets/Test" in note
    assert note in read_bundle(Path("run/bundle")).card.notes["split"]
    done = wrn(
        "finetune", "--from", tiny, "--data", "zip", "--test", "zip/pets/Test", "-o", "tested", "--format", "json"
    )
    assert (done.json["test"]["n"], len(done.json["skipped"]["notes"])) == (6, 1)


def test_an_evaluation_says_which_split_it_took(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    fill(tmp_path / "pets", *(f"{split}/{name}" for split in ("train", "valid") for name in NAMES))
    for arguments in (("evaluate", "pets", "-m", tiny), ("compare", tiny, tiny, "--data", "pets")):
        done = wrn(*arguments)
        assert done.code == 0, done.err
        assert done.err.endswith("took pets/valid, left out pets/train/\n")
    report = wideresnet.evaluate(wideresnet.load(tiny), "pets")
    assert (report.n, report.skipped.notes) == (6, ("took pets/valid, left out pets/train/",))
    fill(tmp_path / "pets", "test/cat")
    done = wrn("evaluate", "pets", "-m", tiny)
    assert (done.code, "give pets/valid or pets/test" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("folders", "strays", "said"),
    [
        (("amazon/images/cat", "amazon/images/dog", "dslr/images/cat"), (), "is amazon/ a class"),
        (("dataset/train/cat", "dataset/test/cat", "samples"), (), "is dataset/ a class"),
        (("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"), ("fold1", "fold2"), "is fold1/ a class"),
        (("train/cat", "train/dog", "unlabeled"), ("train",), "beside unlabeled/"),
        (("train", "test", "val"), (), "rename it if it is a class"),
    ],
)
def test_no_split_and_no_domain_is_learnt_as_a_class(
    wrn: Wrn, tiny: Path, tmp_path: Path, folders: tuple[str, ...], strays: tuple[str, ...], said: str
) -> None:
    fill(fill(tmp_path / "data", *folders), *strays, images=1)
    done = wrn("finetune", "--from", tiny, "--data", "data", "-o", "run")
    assert (done.code, said in done.err, Path("run").exists()) == (2, True, False), done.err


def test_a_link_back_to_the_data_is_not_followed(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    (fill(tmp_path / "loop", *NAMES) / "cat" / "all").symlink_to(tmp_path / "loop", target_is_directory=True)
    done = wrn("evaluate", "loop", "-m", tiny, "--skip-order-check", "--format", "json")
    assert (done.code, done.json["n"]) == (0, 6)
    assert f"loop/cat/all leads back to {tmp_path.resolve()}/loop" in done.err


def test_folds_are_not_evaluated_as_class_indices(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    fill(tmp_path / "folds", *(f"{fold}/{name}" for fold in range(3) for name in NAMES))
    done = wrn("evaluate", "folds", "-m", tiny, "--skip-order-check")
    assert (done.code, "give folds/0" in done.err) == (2, True), done.err


def test_training_says_what_lies_there_instead_of_splits(wrn: Wrn, tmp_path: Path) -> None:
    fill(fill(tmp_path / "data", "zip/train/cat", "zip/val/cat"), ".", images=1)
    Path("recipe.toml").write_text(RECIPE.format(epochs=2) + "sizes = [[0, 12], [1, 16]]\n")
    done = wrn("train", "recipe.toml", "--data", "data", "-o", "run")
    assert (done.code, "data holds no splits: zip/ beside 1 image\n" in done.err) == (2, True), done.err
    assert "give data/zip" in done.err


def test_compile_takes_both_splits_of_a_folder(
    wrn: Wrn, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded to calibrate with; splits that are unclear are refused."""

    def stop(_bundle: object, settings: CompileSettings, _folder: object) -> NoReturn:
        raise ConfigError(f"calibration={settings.calibration} data={settings.data}")

    monkeypatch.setattr(compilation, "compile_model", stop)
    fill(tmp_path / "data", *(f"{split}/{name}" for split in ("train", "val") for name in NAMES))
    for option in ("--data", "--calibration"):
        done = wrn("compile", "-m", tiny, option, "data", "-o", "int8")
        assert done.err == "error: calibration=data data=data\n"
    fill(tmp_path / "data", "train_data/cat")
    done = wrn("compile", "-m", tiny, "--calibration", "data", "-o", "int8")
    assert (done.code, "train/ and train_data/ of data all name its train split" in done.err) == (2, True)


def test_merged_reports_say_it_once(wrn: Wrn, pets: Path, tiny: Path) -> None:
    for part in (1, 2):
        done = wrn("evaluate", "pets", "-m", tiny, "--skip-order-check", "--shard", f"{part}/2", "--format", "json")
        Path(f"{part}.json").write_text(done.out)
    merged = wrn("merge", "1.json", "2.json", "--format", "json")
    assert json.loads(merged.out)["skipped"] == COUNTS
    assert merged.err == LINE.format("pets")
