"""``wrn compare``: files of scores or models; exit code 1 unless a loss beyond the limit is excluded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from commands import Wrn
from fakes import FakeEngine, tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.output.parquet import write_parquet
from wideresnet.output.scores import Origin, as_json_line
from wideresnet.records import Failure, Labels, Scored

NAMES = tiny_bundle().labels.names


def write(file: Path, scores: Iterable[Scored | Failure]) -> Path:
    file.write_text("".join(as_json_line(each, 0) for each in scores))
    return file


def scored(path: str, label: int, answer: int) -> Scored:
    rank = 1 if label == answer else 2
    return Scored(path, label, rank, rank, (answer, label), (0.9, 0.1))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A is right on all 1,000 images, B wrong on 7 of them."""
    paths = [f"{k:04}.png" for k in range(1000)]
    a = write(tmp_path / "a.jsonl", (scored(path, 3, 3) for path in paths))
    b = write(tmp_path / "b.jsonl", (scored(path, 3, 5 if k < 7 else 3) for k, path in enumerate(reversed(paths))))
    return a, b


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """An image of each class in its folder, and one that cannot be read."""
    for label, name in enumerate(NAMES):
        (tmp_path / "greys" / name).mkdir(parents=True)
        Image.fromarray(FakeEngine().image(label)).save(tmp_path / "greys" / name / "a.png")
    (tmp_path / "greys" / NAMES[0] / "torn.png").write_bytes(b"no image")
    return tmp_path / "greys"


def test_two_files_are_paired_by_path(wrn: Wrn, files: tuple[Path, Path]) -> None:
    done = wrn("compare", *files, "--format", "json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["n"], done.json["difference"], done.json["only_a_right"]) == (1000, -0.7, 7)
    assert [flip["path"] for flip in done.json["flips"]] == [f"{k:04}.png" for k in range(993, 1000)]
    text = wrn("compare", *files, "--labels", "cifar10").out
    assert "difference -0.700 points" in text
    assert "dog" in text
    assert "class 5" in wrn("compare", *files).out


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_files_of_an_evaluation_state_model_data_and_classes(
    wrn: Wrn, greys: Path, tmp_path: Path, ending: str
) -> None:
    """Parquet all three, JSON lines no classes, CSV nothing."""
    for name in ("one", "two"):
        bundle = tiny_bundle()
        write_bundle(tmp_path / name, replace(bundle, card=replace(bundle.card, name=f"wrn_10_1.{name}")))
        wrn("evaluate", "greys", "-m", name, "-o", f"{name}.{ending}", "--skip-order-check")
    shown = wrn("compare", f"one.{ending}", f"two.{ending}", "--format", "json").json
    sides = [(shown[side]["model"], shown[side]["data"]) for side in "ab"]
    if ending == "csv":
        assert sides == [("one.csv", None), ("two.csv", None)]
    else:
        assert sides == [("wrn_10_1.one", "greys"), ("wrn_10_1.two", "greys")]
    assert wrn("compare", f"one.{ending}", f"one.{ending}").out.startswith(
        "A: one.csv\n" if ending == "csv" else f"A: wrn_10_1.one (one.{ending}) on greys\n"
    )
    page = wrn("compare", f"one.{ending}", f"two.{ending}", "--data", greys, "--report", "page.html")
    assert page.code == (1 if ending == "parquet" else 2)          # 1: the torn image
    assert ("--data needs the classes of the files" in page.err) == (ending != "parquet")


def test_files_of_different_classes_or_data_are_told_apart(wrn: Wrn, tmp_path: Path) -> None:
    for name, origin in {
        "a": Origin("x", "val", Labels(("cat", "dog"))), "b": Origin("y", "test", Labels(("cat", "dog"))),
        "c": Origin("z", "val", Labels(("dog", "cat"))),
    }.items():  # fmt: skip
        layout = origin.layout()
        rows = layout.to_rows(scored("1.png", 0, 0))
        write_parquet(tmp_path / f"{name}.parquet", rows, layout.columns, layout.metadata)
    done = wrn("compare", "a.parquet", "b.parquet")
    assert (done.code, done.err) == (0, "warning: A was evaluated on val, B on test\n")
    done = wrn("compare", "a.parquet", "c.parquet")
    assert (done.code, "a.parquet and c.parquet are of different classes" in done.err) == (2, True)
    for names, code in (("cat\ndog\n", 0), ("dog\ncat\n", 2)):
        (tmp_path / "names.txt").write_text(names)
        done = wrn("compare", "a.parquet", "b.parquet", "--labels", "names.txt")
        assert (done.code, "states other class names than the labels" in done.err) == (code, code == 2)


@pytest.mark.parametrize(("allowed", "code"), [("0.7", 1), ("0.69", 1), ("0", 1), ("1.2", 1), ("1.5", 0), ("5", 0)])
def test_a_loss_beyond_the_limit_is_exit_code_1(
    wrn: Wrn, files: tuple[Path, Path], allowed: str, code: int
) -> None:
    done = wrn("compare", *files, "--max-drop", allowed)
    assert done.code == code
    assert done.err == "" if code == 0 else f"B is more than {allowed} points of top-1 below A" in done.err
    assert ("undecided: 1,000 images cannot exclude" in done.err) == (allowed in ("0.7", "1.2")), "7 of 1,000 are 0.7"
    assert wrn("compare", *reversed(files), "--max-drop", allowed).code == 0, "a gain is no loss"


def test_the_page_is_whole_and_has_the_images_of_the_data(wrn: Wrn, greys: Path, tmp_path: Path) -> None:
    image = f"{greys}/{NAMES[0]}/a.png"
    a = write(tmp_path / "a.jsonl", [scored(image, 0, 0)])
    b = write(tmp_path / "b.jsonl", [scored(image, 0, 1)])
    assert wrn("compare", a, b, "--report", "out/page.html").code == 0
    page = (tmp_path / "out" / "page.html").read_text("utf-8")
    assert page.count("<img") == 1
    assert page.endswith("</html>\n")
    assert wrn("compare", a, b, "--data", greys, "--labels", "cifar10", "--report", "with.html").code == 0
    assert (tmp_path / "with.html").read_text("utf-8").count("<img") == 1


def test_images_of_the_page_are_found_by_the_ends_of_their_paths(wrn: Wrn, greys: Path, tmp_path: Path) -> None:
    """And said to be missing where they are: the scores may have been written from another folder."""
    for name, found in ((f"elsewhere/{NAMES[0]}/a.png", 1), ("elsewhere/none.png", 0)):
        a, b = (write(tmp_path / f"{side}.jsonl", [scored(name, 0, index)]) for index, side in enumerate("ab"))
        done = wrn("compare", a, b, "--data", greys, "--labels", "cifar10", "--report", "page.html")
        assert (tmp_path / "page.html").read_text("utf-8").count("<img") == found
        assert (f"1 of 1 images of the page are not in {greys}" in done.err) == (not found)


def test_two_models_are_evaluated_on_the_same_images(wrn: Wrn, tiny: Path, greys: Path, tmp_path: Path) -> None:
    done = wrn("compare", tiny, tiny, "--data", greys, "--format", "json", "--report", "page.html")
    assert (done.code, "torn.png: not an image" in done.err) == (1, True)
    assert (done.json["n"], done.json["agreement"], done.json["flips"]) == (10, 100.0, [])
    assert done.json["a"]["model"] == str(tiny), "two of one name are told apart by where they are"
    assert [Path(each["path"]).name for each in done.json["b"]["failures"]] == ["torn.png"]
    assert "Conditions of A" in (tmp_path / "page.html").read_text("utf-8")


def test_what_cannot_be_compared_is_refused(wrn: Wrn, files: tuple[Path, Path], tiny: Path, greys: Path) -> None:
    a, b = files
    Path("two.txt").write_text("cat\ndog\n")
    refusals = {
        "cannot compare a file of scores with a model": (a, tiny),
        "two models are compared on labelled images": (tiny, tiny),
        "--labels has no effect on two models": (tiny, tiny, "--data", greys, "--labels", "cifar10"),
        "--data needs the classes of the files": (a, b, "--data", greys, "--report", "x.html"),
        "no label list called 'cifar11'": (a, b, "--labels", "cifar11"),
        "the answers are of classes up to 5 (from 0), and there are 2 class names": (a, b, "--labels", "two.txt"),
        "cannot read gone.csv": (a, "gone.csv"),
    }
    for words, arguments in refusals.items():
        done = wrn("compare", *arguments)
        assert (done.code, done.out) == (2, ""), words
        assert words in done.err


def test_labels_may_be_a_file(wrn: Wrn, files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"thing {k}\n" for k in range(10)))
    assert "thing 5" in wrn("compare", *files, "--labels", "names.txt").out
