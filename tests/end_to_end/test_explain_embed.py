"""``wrn explain`` and ``wrn embed`` as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from commands import Wrn
from wideresnet.bundle import read_bundle
from wideresnet.errors import EngineError

# explain


def test_explain_draws_a_image_a_class(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("explain", photos, "-m", tiny, "-k", "2", "-o", "maps", "--format", "json")
    assert (done.code, done.notes) == (0, f"passed over 1 file in {photos}: 1 .txt\n")
    assert [each["path"] for each in done.json] == [f"{photos}/a.png", f"{photos}/inner/b.jpg"]
    files = [shown["file"] for each in done.json for shown in each["classes"]]
    assert sorted(files) == sorted(str(path) for path in Path("maps").iterdir())
    for each in done.json:
        for shown in each["classes"]:
            assert {"index", "label", "probability", "logit", "bias", "peak", "file"} == shown.keys()
            with Image.open(shown["file"]) as image:
                assert (image.format, image.size) == ("PNG", (256, 256))


def test_explain_says_that_it_has_fewer_classes(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("explain", photos / "a.png", "-m", tiny, "-k", "12", "-o", "maps")
    assert (done.code, "note: -k 12: the model has 10 classes\n" in done.err) == (0, True), done.err


@pytest.mark.parametrize("inner", ["maps", "."])
def test_explain_does_not_write_among_the_images(wrn: Wrn, tiny: Path, photos: Path, inner: str) -> None:
    """The next run would explain the maps."""
    done = wrn("explain", photos, "-m", tiny, "-o", photos / inner)
    assert done.code == 2
    assert f"would be among the images of {photos} the next time" in done.err
    assert not (photos / "maps").exists()


def test_explain_agrees_with_classify(wrn: Wrn, tiny: Path, photos: Path) -> None:
    explained = wrn("explain", photos, "-m", tiny, "-k", "3", "--format", "json").json
    classified = wrn("classify", photos, "-m", tiny, "-k", "3", "--format", "json").json
    for one, other in zip(explained, classified, strict=True):
        assert [shown["label"] for shown in one["classes"]] == [score["label"] for score in other["predictions"]]
        shares = [score["probability"] for score in other["predictions"]]
        assert [shown["probability"] for shown in one["classes"]] == pytest.approx(shares, rel=1e-4)


def test_explain_shows_the_classes_named(wrn: Wrn, tiny: Path, photos: Path) -> None:
    arguments = ("explain", photos / "a.png", "-m", tiny, "--class", "cat", "--class", "9", "--class", "3")
    done = wrn(*arguments, "-o", "maps")
    assert [line.split()[1] for line in done.out.splitlines()] == ["cat", "truck"]
    assert {path.name for path in Path("maps").iterdir()} == {"a-cat.png", "a-truck.png"}
    plain = Path("maps/a-cat.png").read_bytes()
    assert wrn(*arguments, "-o", "maps", "--signed").code == 0
    assert Path("maps/a-cat.png").read_bytes() != plain
    wrong = wrn("explain", photos, "-m", tiny, "--class", "cta", "-o", "maps")
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean 'cat'?" in wrong.err


def test_explain_writes_a_page_alone(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("explain", photos, "-m", tiny, "--report", "page.html")
    assert (done.code, "->" in done.out) == (0, False)
    page = Path("page.html").read_text("utf-8")
    assert page.count("<img") == 4
    assert "photos/a.png" in page


def test_explain_with_nowhere_to_draw_says_so(wrn: Wrn, tiny: Path, photos: Path) -> None:
    done = wrn("explain", photos, "-m", tiny)
    assert (done.code, "name a folder with -o, or a page with --report" in done.err) == (2, True)


def test_explain_lists_what_it_cannot_read_and_goes_on(wrn: Wrn, tiny: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    done = wrn("explain", photos, "-m", tiny, "-o", "maps", "--format", "json")
    assert done.code == 1
    assert [Path(each["path"]).name for each in done.json] == ["a.png", "broken.png", "b.jpg"]
    assert set(done.json[1]) == {"path", "error", "hint"}
    assert "broken.png: not an image" in done.err
    assert len(list(Path("maps").iterdir())) == 2
    table = wrn("explain", photos, "-m", tiny, "-o", "maps")
    assert (table.code, len(table.out.splitlines())) == (1, 2)


# embed


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out.parquet"])
def test_embed_writes_a_row_a_image_that_could_be_read(wrn: Wrn, tiny: Path, photos: Path, name: str) -> None:
    if name == "out.parquet":
        pytest.importorskip("pyarrow")
    (photos / "broken.png").write_bytes(b"no image")
    done = wrn("embed", photos, "-m", tiny, "-o", name, "--format", "json")
    assert (done.code, done.json["n"], done.json["layers"]) == (1, 2, {"features": [64]})
    assert [Path(each["path"]).name for each in done.json["failures"]] == ["broken.png"]
    assert "broken.png: not an image" in done.err
    expected = wideresnet.embed([photos / "a.png", photos / "inner" / "b.jpg"], tiny)["features"]
    paths = [f"{photos}/a.png", f"{photos}/inner/b.jpg"]
    if name == "out.parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(name)
        found, listed = np.array(table["features"].to_pylist()), table["path"].to_pylist()
    else:
        found = np.load(name) if name == "out.npy" else np.load(name)["features"]
        listed = Path(f"{name}.paths.txt").read_text().splitlines()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert listed == paths


def test_embed_keeps_maps_unless_they_are_to_be_averaged(wrn: Wrn, tiny: Path, photos: Path) -> None:
    def shapes(*arguments: str) -> dict[str, list[int]]:
        done = wrn("embed", photos, "-m", tiny, "--layer", "layer2,layer3", *arguments, "--format", "json")
        assert done.code == 0, done.err
        return done.json["layers"]

    maps, means = {"layer2": [32, 16, 16], "layer3": [64, 8, 8]}, {"layer2": [32], "layer3": [64]}
    assert shapes("-o", "out.npz") == maps
    assert shapes("-o", "mean.npz", "--pool", "mean", "--dtype", "float16") == means
    with np.load("out.npz") as whole, np.load("mean.npz") as mean:
        assert mean["layer2"].dtype == np.float16
        np.testing.assert_allclose(mean["layer2"], whole["layer2"].mean((2, 3)), rtol=2e-3, atol=1e-3)
    pytest.importorskip("pyarrow")
    assert shapes("-o", "out.parquet") == means
    done = wrn("embed", photos, "-m", tiny, "--layer", "layer2", "--pool", "none", "-o", "b.parquet")
    assert (done.code, "not the maps" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "laye2", "-o", "a.npy"], "did you mean 'layer2'?"),
        (["--layer", "layer2,layer3", "-o", "a.npy"], "write a.npz"),
        (["-o", "a.txt"], "name a file that ends with"),
        (["-o", "a.npz", "-m", "wide_resnet50_2.tv_in1k"], "offline mode is on"),
    ],
)
def test_embed_says_what_is_wrong(wrn: Wrn, tiny: Path, photos: Path, arguments: list[str], said: str) -> None:
    done = wrn("embed", photos, *([] if "-m" in arguments else ["-m", tiny]), *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not [path for path in Path().iterdir() if path.name.startswith("a.")]


def test_embed_of_nothing_readable_is_an_empty_file(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"")
    done = wrn("embed", "torn.png", "-m", tiny, "--layer", "layer1", "-o", "a.npy")
    assert done.code == 1
    assert np.load("a.npy").shape == (0, 16, 32, 32)


def test_an_engine_that_stops_leaves_no_file(
    wrn: Wrn, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_all: object, **_more: object) -> object:
        raise EngineError("the engine stopped")

    monkeypatch.setattr("wideresnet.tasks.classify.embed.embeddings", stopping)
    done = wrn("embed", photos, "-m", tiny, "-o", "a.npy")
    assert (done.code, "the engine stopped" in done.err) == (2, True)
    assert not [path for path in Path().iterdir() if path.name.startswith("a.")]


def test_an_int8_bundle_can_be_looked_into(wrn: Wrn, tiny: Path, photos: Path) -> None:
    pytest.importorskip("nncf")
    made = wrn("compile", "-m", tiny, "--calibration", photos, "--data", photos, "--gate", "none", "-o", "small")
    assert made.code == 0, made.err
    assert read_bundle(Path("small")).card.precision == "int8"
    done = wrn("embed", photos, "-m", "small", "-o", "a.npz", "--layer", "layer1,features", "--format", "json")
    assert (done.code, done.json["precision"]) == (0, "int8")
    explained = wrn("explain", photos, "-m", "small", "--format", "json")
    assert explained.code == 0
    json.dumps(explained.json)
