from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.data.labels import read_labels
from wideresnet.data.truth import labelled_by, labelled_index, read_ground_truth
from wideresnet.errors import DataError
from wideresnet.records import Labels

IMAGENET = read_labels("imagenet")
PETS = Labels(("cat", "dog", "crane", "crane"), ("n1", "n2", "n3", "n4"))
PLAIN = Labels(("cat", "dog", "bird"))


def rows(tmp_path: Path, text: str, labels: Labels = PETS, name: str = "truth.csv") -> dict[str, int]:
    (tmp_path / name).write_text(text, "utf-8")
    return dict(read_ground_truth(tmp_path / name, labels).rows)


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    "text",
    [
        "path,index,wnid\na.png,0,n1\nb/c.png,3,n4\n",
        "\ufeffpath,index,wnid\r\na.png,0,n1\r\n\r\nb/c.png,3,n4\r\n",
        "a.png,cat\nb/c.png,n4\n",
        "label,path\ncat,a.png\n3,b/c.png\n",
        "File,Class\na.png,0\nb/c.png,3\n",
        "a.png\tcat\nb/c.png\t3\n",
        "a.png 0\nb/c.png   3\n",
        "ImageId,PredictionString\na.png,n1 85 1 499 272\nb/c.png,n4 1 2 3 4 n4 5 6 7 8 \n",
    ],
)
def test_every_form_says_the_same(tmp_path, text):
    assert rows(tmp_path, text) == {"a.png": 0, "b/c.png": 3}


def test_caffes_file_with_blanks_in_names(tmp_path):
    assert rows(tmp_path, "my cat.png 0\nmy dog.png 1\n", name="val.txt") == {"my cat.png": 0, "my dog.png": 1}


def test_an_id_counts_more_than_an_index_where_the_network_knows_ids(tmp_path):
    """A network of four of the thousand classes has other indices for them."""
    assert rows(tmp_path, "path,index,wnid\na.png,985,n2\n") == {"a.png": 1}
    assert rows(tmp_path, "path,index,wnid\na.png,2,n2\n", PLAIN) == {"a.png": 2}


def test_ids_alone_are_in_the_order_of_the_sets_numbers(tmp_path):
    assert rows(tmp_path, "n01440764\nn01443537\n", IMAGENET) == {
        "ILSVRC2012_val_00000001": 0,
        "ILSVRC2012_val_00000002": 1,
    }


def test_numbers_alone_are_refused_and_the_reason_said(tmp_path):
    """The devkit's ground truth, read as indices, would be wrong for nearly every picture."""
    with pytest.raises(DataError, match="numbers alone") as caught:
        rows(tmp_path, "490\n361\n171\n", IMAGENET, "ILSVRC2012_validation_ground_truth.txt")
    assert "not in the order of the sorted WordNet ids" in caught.value.hint
    assert "wrn data imagenet" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png,0\nb.png,fish\n", "line 2 .* says 'fish', which is none of the 4 classes"),
        ("a.png,-1\n", "says '-1'"),
        ("a.png,crane\n", "says 'crane'"),
        ("a.png,4\n", "says '4'"),
        ("a.png,0\na.png,1\n", "two classes, 0 and 1"),
        ("a.png,0\nb.png\n", "line 2 .* has 1 columns"),
        ("a,b,c\n1,2,3\n", "3 columns and no names"),
        ("ImageId,PredictionString\na,n1 1 2 3 4 n2 1 2 3 4\n", "none of the 4 classes"),
        ("hello\n", "no ground truth"),
        ("", "no names"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        rows(tmp_path, text)


def test_indices_from_one_get_the_reason(tmp_path):
    with pytest.raises(DataError) as caught:
        rows(tmp_path, "a.png,1000\n", IMAGENET)
    assert "run from 0 to 999" in caught.value.hint
    assert "devkit" in caught.value.hint


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        read_ground_truth(tmp_path / "x.csv", PETS)


# An index


def test_an_index_names_its_pictures_relative_to_itself(tmp_path):
    pictures(tmp_path / "val", "a.png", "b.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.csv").write_text("path,index,wnid\n../val/b.png,1,n2\n../val/a.png,0,n1\n")
    data = labelled_index(tmp_path / "lists" / "val.csv", PETS)
    assert (data.name, data.classes) == ("val", 4)
    assert [(Path(item.path).name, item.label) for item in data.items] == [("b.png", 1), ("a.png", 0)]
    assert all(isinstance(item.source, Path) and item.source.is_file() for item in data.items)


def test_an_index_of_absolute_paths(tmp_path):
    pictures(tmp_path, "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "val.csv").write_text(f"path,label\n{tmp_path}/a.png,0\n")
    assert labelled_index(tmp_path / "elsewhere" / "val.csv", PETS).items[0].source == tmp_path / "a.png"


def test_an_index_away_from_its_pictures_is_noticed(tmp_path):
    (tmp_path / "val.csv").write_text("a.png,0\nb.png,1\n")
    with pytest.raises(DataError, match=r"none of the 2 pictures .* is there") as caught:
        labelled_index(tmp_path / "val.csv", PETS)
    assert "relative to the file" in caught.value.hint


# A folder and its ground truth


def labelled(tmp_path: Path, text: str, labels: Labels = PETS) -> list[tuple[str, int | None]]:
    (tmp_path / "truth.txt").write_text(text)
    root = tmp_path / "val"
    data = labelled_by(root, tmp_path / "truth.txt", labels)
    return [(Path(item.path).relative_to(root).as_posix(), item.label) for item in data.items]


def test_pictures_are_matched_by_name_with_or_without_ending(tmp_path):
    pictures(tmp_path / "val", "a.png", "b.JPEG", "c.webp")
    assert labelled(tmp_path, "c.webp 2\nsomewhere/else/b 1\nD:\\data\\a.png 0\n") == [
        ("a.png", 0),
        ("b.JPEG", 1),
        ("c.webp", 2),
    ]


def test_folders_decide_between_rows_of_the_same_name(tmp_path):
    pictures(tmp_path / "val", "one/x.png", "two/x.png")
    assert labelled(tmp_path, "/data/val/one/x.png 0\n/data/val/two/x.png 1\n") == [("one/x.png", 0), ("two/x.png", 1)]


@pytest.mark.parametrize(
    ("names", "text", "said"),
    [
        (["one/x.png", "two/x.png"], "x.png 0\n", "both fit the row 'x.png'"),
        (["x.png"], "a/x.png 0\nb/x.png 1\n", "fits several rows"),
        (["x.png", "y.png", "z.png"], "x.png 0\n", "2 of the 3 pictures in .* have no class in .*y.png, .*z.png"),
        ([], "x.png 0\n", "0 of the 0 pictures"),
    ],
)
def test_what_is_not_clear_is_an_error(tmp_path, names, text, said):
    (tmp_path / "val").mkdir()
    pictures(tmp_path / "val", *names)
    with pytest.raises(DataError, match=said):
        labelled(tmp_path, text)


def test_rows_without_a_picture_are_told_in_the_name(tmp_path):
    pictures(tmp_path / "val", "x.png")
    (tmp_path / "val.txt").write_text("x.png 0\ny.png 1\nz.png 1\n")
    assert labelled_by(tmp_path / "val", tmp_path / "val.txt", PETS).name == "val (1 of the 3 pictures in val.txt)"
    (tmp_path / "val.txt").write_text("x.png 0\n")
    assert labelled_by(tmp_path / "val", tmp_path / "val.txt", PETS).name == "val"
