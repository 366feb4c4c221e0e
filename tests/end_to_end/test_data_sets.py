"""Data sets as libraries and hubs keep them, given to the commands: tar shards, Parquet, CIFAR's python version."""

from __future__ import annotations

import csv
import json
import pickle
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from commands import Wrn
from fakes import grey_png, write_hub, write_tar
from wideresnet.bundle import read_bundle
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import ConfigError
from wideresnet.tasks.quantize import compile as compilation
from wideresnet.tasks.quantize.compile import CompileSettings

CIFAR = read_labels("cifar10")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tar shards of a training set with two images a class, and one to hold out."""
    for split, count in (("train", 20), ("val", 10)):
        for shard in range(count // 10):
            pairs = [((f"{n:06d}.png", grey_png(n)), (f"{n:06d}.cls", b"%d" % n)) for n in range(10)]
            write_tar(tmp_path / "set" / f"{split}-{shard:06d}.tar", [file for pair in pairs for file in pair])
    return tmp_path / "set"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """A hub's folder with both splits; every image of one has the same name."""
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    for split, name in (("train", "a.png"), ("validation", None)):
        rows = [{"bytes": grey_png(n % 10), "path": name} for n in range(20)]
        file = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        write_hub(file, {"image": rows, "label": [n % 10 for n in range(20)]}, CIFAR.names)
    return tmp_path / "hub"


@pytest.fixture
def python_cifar(tmp_path: Path) -> Path:
    """CIFAR-10 as torchvision unpacks it, with a few rows a file."""
    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        pixels = rng.integers(0, 256, (30, 3072), np.uint8)
        (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": [k % 10 for k in range(30)]}, 2))
    (folder / "batches.meta").touch()
    return folder


def test_the_images_in_a_tar_archive_are_classified(wrn: Wrn, tiny: Path, shards: Path) -> None:
    """Each under archive/name; of a folder of shards all."""
    done = wrn("classify", shards / "val-000000.tar", "-m", tiny, "--format", "json")
    archive = shards / "val-000000.tar"
    assert (done.code, done.notes) == (0, f"passed over 10 files in {archive}: 10 .cls\n")
    assert [row["path"] for row in done.json] == [f"{archive}/{n:06d}.png" for n in range(10)]
    assert len(wrn("classify", shards, "-m", tiny, "--format", "json").json) == 30


def test_what_shards_hold_besides_images_is_counted(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    """In archives and beside them; labels that are read are no such files, images that are no class's are."""
    files = [("1.png", grey_png(3)), ("1.cls", b"0"), ("1.mask.png", grey_png(3)), ("2.heix", b""), ("._1.png", b"")]
    (tmp_path / "s").mkdir()
    write_tar(tmp_path / "s" / "a.tar", [*files, ("@eaDir/1.png", grey_png(3))])
    (tmp_path / "s" / "b.tar.gz").write_bytes(b"")
    hidden = "1 hidden or system file; 1 hidden or system folder"
    done = wrn("evaluate", "s", "-m", tiny, "--format", "json")
    assert (done.code, done.json["n"]) == (0, 1)
    assert done.err.endswith(f"passed over 3 files in s: 1 .gz, 1 .heix, 1 .png; {hidden}\n")
    assert done.json["skipped"]["by_ending"] == {".png": 1, ".heix": 1, ".gz": 1}
    done = wrn("classify", "s", "-m", tiny, "--format", "json")
    assert [row["path"] for row in done.json] == ["s/a.tar/1.png", "s/a.tar/1.mask.png"]
    assert done.notes == f"passed over 3 files in s: 1 .cls, 1 .gz, 1 .heix; {hidden}\n"


def rows_of(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))


def test_images_in_shards_have_the_same_paths_and_answers_every_time(wrn: Wrn, tiny: Path, shards: Path) -> None:
    """So that a run is resumed by them; the same bytes are answered once with --dedupe."""
    options = ("-m", tiny, "--format", "csv", "-k", "1", "-o")
    assert wrn("classify", shards / "train-000000.tar", *options, "one.csv").code == 0
    assert wrn("classify", shards, "--dedupe", *options, "all.csv").code == 0
    one, every = rows_of("one.csv"), rows_of("all.csv")
    assert [row["path"] for row in every[:10]] == [row["path"] for row in one]
    assert [row["probability"] for row in every] == [row["probability"] for row in one] * 3


@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_the_held_out_split_is_evaluated_and_that_is_said(
    wrn: Wrn, tiny: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """On stderr and in the document; the file itself needs no words."""
    folder: Path = request.getfixturevalue(kind)
    done = wrn("evaluate", folder, "-m", tiny, "--skip-order-check", "--format", "json")
    assert (done.code, done.json["data"], done.json["failures"]) == (0, f"{folder.name} validation", [])
    assert done.notes == f"{folder} holds shards of several splits, train, validation: validation is read\n"
    file = next(file for file in folder.rglob("val*") if file.is_file())
    alone = wrn("evaluate", file, "-m", tiny, "--skip-order-check", "--format", "json")
    assert (alone.code, alone.notes, alone.json["n"]) == (0, "", done.json["n"])
    assert alone.json["top1"] == done.json["top1"]


def test_scores_of_rows_with_one_name_can_be_compared(wrn: Wrn, tiny: Path, parquet: Path) -> None:
    """Every row has a path of its own."""
    file = parquet / "data" / "train-00000-of-00001.parquet"
    assert wrn("evaluate", file, "-m", tiny, "--skip-order-check", "-o", "a.csv").code == 0
    assert [row["path"] for row in rows_of("a.csv")][:2] == [f"{file}#0/a.png", f"{file}#1/a.png"]
    assert "20 images that both answered" in wrn("compare", "a.csv", "a.csv").out
    assert "20 images that both answered" in wrn("compare", tiny, tiny, "--data", parquet).out


@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_shards_are_embedded_and_learnt_from(wrn: Wrn, tiny: Path, kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    assert wrn("embed", folder, "-m", tiny, "-o", "features.npy").code == 0
    count = len(np.load("features.npy"))
    assert count == len(set(Path("features.npy.paths.txt").read_text().splitlines()))
    done = wrn("finetune", "--from", tiny, "--data", folder, "-o", "run", "--format", "json", "--set", "l2=[0.1]")
    assert done.code == 0, done.err
    assert done.json["train"] + done.json["val"] == count
    names = CIFAR.names if kind == "parquet" else tuple(map(str, range(10)))
    assert read_bundle(Path("run/bundle")).labels.names == names


@pytest.mark.parametrize("option", ["--data", "--calibration"])
def test_compile_takes_both_sets_of_an_archive(
    wrn: Wrn, tiny: Path, python_cifar: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever option names it: its training set calibrates, its test set judges, and nothing is downloaded."""

    def stop(_bundle: object, settings: CompileSettings, _folder: object) -> NoReturn:
        raise ConfigError(f"calibration={settings.calibration} data={settings.data}")

    monkeypatch.setattr(compilation, "compile_model", stop)
    done = wrn("compile", "-m", tiny, option, python_cifar.parent, "-o", "int8")
    assert done.err == f"error: calibration={python_cifar.parent} data={python_cifar.parent}\n"


def test_compile_without_a_connection_says_what_to_type(wrn: Wrn, tiny: Path, photos: Path) -> None:
    """Options that it has, and not the one for weights."""
    done = wrn("compile", "-m", tiny, "--data", photos, "-o", "int8")
    assert (done.code, "--weights" in done.err) == (2, False)
    assert "name your own copy with --calibration FILE and --data FILE" in done.err


@pytest.mark.parametrize(
    "arguments",
    ["classify hub -o hub/data/{file}", "embed hub/data/{file} -o {file}", "evaluate index.csv -o index.csv",
     "merge index.csv --report link.csv"],
)  # fmt: skip
def test_an_input_is_never_replaced_by_an_output(
    wrn: Wrn, tiny: Path, parquet: Path, tmp_path: Path, arguments: str
) -> None:
    shard = next(parquet.rglob("train*"))
    (tmp_path / "index.csv").write_text("path,label\na.png,0\n")
    (tmp_path / "link.csv").symlink_to("index.csv")
    (tmp_path / shard.name).symlink_to(shard)
    before = shard.read_bytes()
    done = wrn(*arguments.format(file=shard.name).split(), *(["-m", tiny] if "merge" not in arguments else []))
    assert (done.code, "is one of the inputs and would be overwritten" in done.err) == (2, True)
    assert (shard.read_bytes(), (tmp_path / "index.csv").stat().st_size) == (before, 19)


@pytest.mark.parametrize("arguments", ["classify {} --format csv -o", "explain {} --report", "embed {} -o"])
def test_an_image_is_never_replaced_by_an_output(wrn: Wrn, tiny: Path, photos: Path, arguments: str) -> None:
    """The shell makes '--report photos/*' a photograph and its neighbours; one in a folder is no parameter."""
    image = min(photos.rglob("*.png"))
    before = image.read_bytes()
    done = wrn(*arguments.format("photos").split(), image, "-m", tiny)
    assert (done.code, f"{image} is an image (PNG) and would be overwritten" in done.err) == (2, True)
    assert image.read_bytes() == before


def test_the_python_version_of_cifar_is_evaluated(wrn: Wrn, tiny: Path, python_cifar: Path) -> None:
    """And said not to be the official set where it is not."""
    done = wrn("evaluate", python_cifar.parent, "-m", tiny, "--skip-order-check", "--format", "json")
    assert (done.code, done.json["n"]) == (0, 30)
    assert done.json["data"] == "cifar10 test (30 images of files that are not the official ones)"


def test_parquet_without_pyarrow_is_refused_before_any_work(
    wrn: Wrn, parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence, before a model is opened or downloaded."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = parquet / "data" / "train-00000-of-00001.parquet"
    for command in (
        ("classify", file, "-m", "none"), ("classify", parquet, "-m", "none"), ("evaluate", parquet, "-m", "none"),
        ("embed", file, "-o", "x.npy", "-m", "none"), ("explain", file, "-o", "maps", "-m", "none"),
        ("finetune", "--data", parquet, "-o", "run", "--from", "none"), ("compare", "a", "b", "--data", file),
        ("compile", "--data", file, "-o", "x", "-m", "none"),
    ):  # fmt: skip
        done = wrn(*command)
        assert done.code == 2
        assert done.err.splitlines()[0] == "error: reading Parquet needs pyarrow, which is not installed", command
        assert done.err.splitlines()[1].endswith("pip install 'wideresnet[parquet]'")


FORMATS = {
    "a.zip": (b"PK\3\4", "a ZIP archive", "unpack it first"),
    "a.tar.gz": (b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "a 7z or RAR archive", "unpack it first"),
    "a.pkl": (b"\x80\x04}.", "a Python pickle", "export its images"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "export its images"),
    "data.mdb": (bytes(16) + b"\xde\xc0\xef\xbe", "an LMDB database", "export its images"),
    "a-00000-of-00001": (b"\x10\x20\0\0\0\0\0\0\1\2\3\4\n\x05", "a TFRecord file", "export its images"),
    "a.arrow": (b"\xff\xff\xff\xff\xd8\x02\0\0\x10\0\0\0", "an Arrow file", "export its images"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_another_format_is_called_by_name(wrn: Wrn, tiny: Path, tmp_path: Path, name: str) -> None:
    """Given itself, and where it lies in the folder that was given."""
    data, what, hint = FORMATS[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data + b"\1" * 600)
    for path in (tmp_path / "in" / name, tmp_path / "in"):
        done = wrn("evaluate", path, "-m", tiny)
        assert (done.code, what in done.err, hint in done.err) == (2, True, True), done.err
    done = wrn("finetune", "--from", tiny, "--data", tmp_path / "in" / name, "-o", "run")
    assert (done.code, what in done.err) == (2, True)
    done = wrn("classify", tmp_path / "in" / name, "-m", tiny)
    assert (done.code, what in done.err) == (1, True)


def test_a_tar_archive_that_is_cut_is_one_failure(wrn: Wrn, tiny: Path, shards: Path) -> None:
    """What lies before the cut is answered."""
    file = shards / "val-000000.tar"
    file.write_bytes(file.read_bytes()[:1600])
    done = wrn("classify", file, "-m", tiny, "--format", "jsonl")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [row["path"] for row in rows] == [str(file / "000000.png"), str(file)]
    assert "no complete tar archive" in rows[1]["error"]
