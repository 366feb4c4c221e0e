from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.ground_truth import labelled_by, labelled_index, read_ground_truth
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import DataError
from wideresnet.records import Labels

IMAGENET = read_labels("imagenet")
PETS = Labels(("cat", "dog", "crane", "crane"), ("n1", "n2", "n3", "n4"))
PLAIN = Labels(("cat", "dog", "bird"))


def rows(tmp_path: Path, text: str, labels: Labels = PETS, name: str = "truth.csv") -> dict[str, int]:
    (tmp_path / name).write_text(text, "utf-8")
    return dict(read_ground_truth(tmp_path / name, labels).rows)


def images(root: Path, *names: str) -> Path:
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
        "path;label\na.png;cat\nb/c.png;3\n",
        "file_name\tlabel_name\r\na.png\tcat\r\nb/c.png\tn4\r\n",
        "a.png|cat\nb/c.png|n4\n",
        '"Image ID", "Category"\n"a.png", "cat"\n"b/c.png", "3"\n',
        "img,target\na.png,0.0\nb/c.png,3.0\n",
        ",filename,label\n7,a.png,0\n8,b/c.png,3\n",
        "Unnamed: 0;id;category_id\n7;a.png;0\n8;b/c.png;3\n",
        "index,image_path,label\n1,a.png,0\n2,b/c.png,3\n",
        "filename,label,class_name\na.png,2,cat\nb/c.png,2,n4\n",
        "id_code,diagnosis\na.png,0\nb/c.png,3\n",
        "sep=;\npath;label\na.png;0\nb/c.png;3\n",
        "a.png\tn1\t0\t32\t44\t62\nb/c.png\tn4\t52\t55\t57\t59\n",
    ],
)
def test_every_form_says_the_same(tmp_path, text):
    assert rows(tmp_path, text) == {"a.png": 0, "b/c.png": 3}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets(tmp_path, encoding):
    """Windows-1252 has no mark: it is assumed, and that is said."""
    labels, file = Labels(("Äpfel", "Nüsse, gemischt")), tmp_path / "table.csv"
    file.write_bytes('path;label\r\nä.png;Äpfel\r\nb.png;"Nüsse, gemischt"\r\n'.encode(encoding))
    truth = read_ground_truth(file, labels)
    assert dict(truth.rows) == {"ä.png": 0, "b.png": 1}
    assert [note for note in truth.notes if "Windows-1252" in note] == list(truth.notes)
    assert len(truth.notes) == (encoding == "cp1252")


def test_a_line_of_unknown_names_over_the_columns_is_said(tmp_path):
    """It might be a row whose class is misspelt; one with the ending of an image is."""
    (tmp_path / "t.csv").write_text("id_code,diagnosis\na,0\nb,3\n")
    assert "'id_code, diagnosis', was taken for column names" in read_ground_truth(tmp_path / "t.csv", PETS).notes[0]
    with pytest.raises(DataError, match=r"line 1 .* has the class 'catt'"):
        rows(tmp_path, "a.png,catt\nb.png,dog\n")


def test_accents_of_classes_are_the_same_composed_and_decomposed(tmp_path):
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "path,label\na.png,Äpfel\n")
        for labels in ("NFC", "NFD"):
            assert rows(tmp_path, text, Labels(("x", unicodedata.normalize(labels, "Äpfel")))) == {"a.png": 1}


def test_wordnet_ids_are_known_where_the_network_has_names_alone(tmp_path):
    """By ImageNet's list, or by the words.txt that lies with the data."""
    labels = Labels(("goldfish", "European fire salamander, Salamandra salamandra", "rocket launcher"))
    text = "a.png,n01443537\nb.png,n01629819\n"
    assert rows(tmp_path, text, labels) == {"a.png": 0, "b.png": 1}
    (tmp_path / "words.txt").write_text("n99999999\trocket launcher, bazooka\n")
    (tmp_path / "val").mkdir()
    assert rows(tmp_path / "val", "a.png,n99999999\n", labels) == {"a.png": 2}
    with pytest.raises(DataError, match="has the class 'n02084071'"):
        rows(tmp_path, "a.png,n02084071\n", labels)


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
    """The devkit's ground truth, read as indices, would be wrong for nearly every image."""
    with pytest.raises(DataError, match="numbers only") as caught:
        rows(tmp_path, "490\n361\n171\n", IMAGENET, "ILSVRC2012_validation_ground_truth.txt")
    assert "not in the order of the sorted WordNet ids" in caught.value.hint
    assert "wrn data imagenet" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,0\nb.png,fish\n", "line 2 .* has the class 'fish', which is none of the 4 classes"),
        ("a.png,-1\n", "has the class '-1'"),
        ("a.png,crane\n", "has the class 'crane'"),
        ("a.png,4\n", "has the class '4'"),
        ("a.png,0\na.png,1\n", "two classes, 0 and 1"),
        ("a.png,0\nb.png\n", "line 2 .* has 1 columns"),
        ("a,b,c\n1,2,3\n", r"UTF-8, has 3 columns with commas between them, \['a', 'b', 'c'\], and it is unclear"),
        ("path;label;x\na.png;0;1\nb.png\n", r"line 3 .* has 1 columns: .* 3 columns with semicolons"),
        ("path,label\na,1,2.png\n", "line 2 .* has 3 columns: .* 2 columns with commas"),
        ("path,label\na.png,0\nb.png,\n", "line 3 .* gives 'b.png' no class"),
        ("path,label\n\"a.png,0\nb.png,1\n", "line 3 .* is not a row of a table: unexpected end of data"),
        (f"path,label\n{'x' * 200_000},0\n", "field larger than field limit"),
        (f"path,label\na.png,{'9' * 5000}\n", "has the class '9{60}…'"),
        ("ImageId,PredictionString\na,n1 1 2 3 4 n2 1 2 3 4\n", "none of the 4 classes"),
        ("hello\n", "not ground truth"),
        ("", "lists no images"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        rows(tmp_path, text)


@pytest.mark.parametrize("head", ["path,label,split", "Split,path,label", "path,set,label"])
def test_rows_of_training_images_beside_others_are_refused(tmp_path, head):
    columns = {"path": ("a.png", "b.png"), "label": ("cat", "dog")}
    cells = [columns.get(name, ("TRAIN", "val")) for name in head.split(",")]
    text = "".join(",".join(cell[row] for cell in cells) + "\n" for row in (0, 1))
    with pytest.raises(DataError, match=r"has the rows of several splits in its column '.*': TRAIN, val") as error:
        rows(tmp_path, f"{head}\n{text}")
    assert error.value.hint == "write those of one split to a table of their own"
    assert rows(tmp_path, f"{head}\n{text.replace('TRAIN', 'val')}") == {"a.png": 0, "b.png": 1}


def test_rows_that_a_column_tells_apart_are_of_several_splits(tmp_path):
    """As in the tables of fastai, where training images are False."""
    with pytest.raises(DataError, match="several splits in its column 'is_valid': False, True"):
        rows(tmp_path, "path,label,is_valid\na.png,cat,False\nb.png,dog,True\n")
    assert rows(tmp_path, "path,label,is_valid\na.png,cat,True\nb.png,dog,True\n") == {"a.png": 0, "b.png": 1}


def test_numbers_that_lost_their_zeros_are_no_indices(tmp_path):
    """With an index, 1 would be the class 002."""
    numbers = Labels(("001", "002", "003"))
    assert rows(tmp_path, "path,label\na.png,002\nb.png,001\n", numbers) == {"a.png": 1, "b.png": 0}
    with pytest.raises(DataError, match=r"line 2 .* has the class '1', which is none of the 3 classes") as error:
        rows(tmp_path, "path,label\na.png,1\nb.png,3\n", numbers)
    assert "called by numbers, such as '001'" in error.value.hint
    images(tmp_path, "1/a.png", "002/b.png")
    with pytest.raises(DataError, match="1 fits none of the 3 classes") as error:
        labelled_folder(tmp_path, numbers)
    assert "called by numbers, such as '001'" in error.value.hint


def test_rows_that_repeat_an_image_are_counted_once_and_said(tmp_path):
    (tmp_path / "truth.csv").write_text("path,label\na.png,cat\nb.png,dog\na.png,cat\n")
    truth = read_ground_truth(tmp_path / "truth.csv", PETS)
    assert truth.rows == {"a.png": 0, "b.png": 1}
    assert truth.notes == (f"1 rows of {tmp_path / 'truth.csv'} repeat an image",)


def test_an_image_under_two_spellings_of_its_path_is_one(tmp_path):
    images(tmp_path, "im/a.png")
    same = f"path,label\nim/a.png,cat\n./im/a.png,cat\n{tmp_path}/im//a.png,cat\n"
    assert rows(tmp_path, same) == {"im/a.png": 0}
    with pytest.raises(DataError, match=r"gives 'im/a\.png' two classes, 0 and 1 \(line 3\)"):
        rows(tmp_path, "path,label\nim/a.png,cat\n./im/a.png,dog\n")


def test_answers_of_classify_are_no_labels(tmp_path):
    with pytest.raises(DataError, match=r"truth\.csv holds answers of wrn classify, not labels"):
        rows(tmp_path, "path,rank,index,label,probability,error,hint\na.png,1,0,cat,0.9,,\n")


def test_indices_from_one_get_the_reason_from_the_whole_file(tmp_path):
    with pytest.raises(DataError) as caught:
        rows(tmp_path, "path,label\na.png,4\nb.png,1\n")
    assert caught.value.hint == "indices run from 0 to 3, these seem to count from 1: subtract 1, or write names"
    with pytest.raises(DataError) as caught:
        rows(tmp_path, "path,label\na.png,4\nb.png,0\n")
    assert "from 1" not in caught.value.hint


def test_imagenets_indices_from_one_may_be_devkit_numbers(tmp_path):
    with pytest.raises(DataError) as caught:
        rows(tmp_path, "a.png,1000\n", IMAGENET)
    assert "run from 0 to 999" in caught.value.hint
    assert "devkit" in caught.value.hint


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    for content, message in ((b"\xff\xfe\x00", "not text in UTF-16"), (b"\x89PNG\r\n\0", "holds zero bytes")):
        (tmp_path / "x.csv").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_ground_truth(tmp_path / "x.csv", PETS)


# An index


def test_an_index_names_its_images_relative_to_itself(tmp_path):
    images(tmp_path / "val", "a.png", "b.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.csv").write_text("path,index,wnid\n../val/b.png,1,n2\n../val/a.png,0,n1\n")
    data = labelled_index(tmp_path / "lists" / "val.csv", PETS)
    assert (data.name, data.classes) == ("val", 4)
    assert [(Path(item.path).name, item.label) for item in data.items] == [("b.png", 1), ("a.png", 0)]
    assert all(isinstance(item.source, Path) and item.source.is_file() for item in data.items)


def test_an_index_of_absolute_paths(tmp_path):
    images(tmp_path, "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "val.csv").write_text(f"path,label\n{tmp_path}/a.png,0\n")
    assert labelled_index(tmp_path / "elsewhere" / "val.csv", PETS).items[0].source == tmp_path / "a.png"


def test_an_index_away_from_its_images_is_noticed(tmp_path):
    (tmp_path / "val.csv").write_text("a.png,0\nb.png,1\n")
    with pytest.raises(DataError, match=r"none of the 2 images .* exists") as caught:
        labelled_index(tmp_path / "val.csv", PETS)
    assert "relative to the file" in caught.value.hint


def test_paths_of_other_systems_find_their_images(tmp_path):
    """Backslashes, a dot before, no ending, accents as macOS writes them; what is missing stays a failure to come."""
    decomposed = unicodedata.normalize("NFD", "val/é.png")
    images(tmp_path, "val/a.png", "val/b.JPEG", decomposed, "other/missing.png")
    (tmp_path / "t.csv").write_text("path,label\nval\\a.png,0\n.\\val\\b,1\nval/é.png,2\nval/missing.png,3\n")
    data = labelled_index(tmp_path / "t.csv", PETS)
    paths = [Path(item.path).relative_to(tmp_path).as_posix() for item in data.items]
    assert paths[2:] == [decomposed, "val/missing.png"]
    assert [Path(item.path).is_file() for item in data.items] == [True, True, True, False]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (("train/a.png", "train/b.png", "test/c.png"), "id,label\na,0\nb,1\n"),
        (("val/x/a.png", "val/y/b.png"), "path,label\n/home/me/data/val/x/a.png,0\n/home/me/data/val/y/b.png,1\n"),
        (("images/a.png", "images/b.png"), "a.png\tn1\t0\t1\t2\t3\nb.png\tn2\t0\t1\t2\t3\n"),
        (("a.png", "b.png"), "path,label\nD:\\photos\\a.png,0\nD:\\photos\\b.png,1\n"),
    ],
)
def test_images_are_found_by_their_names_below_the_table_and_that_is_said(tmp_path, files, text):
    images(tmp_path, *files)
    (tmp_path / "t.csv").write_text(text)
    data = labelled_index(tmp_path / "t.csv", PETS)
    assert [(Path(item.path).stem, item.label) for item in data.items] == [("a", 0), ("b", 1)]
    assert all(Path(item.path).is_file() for item in data.items)
    assert "found by their names below" in data.notes[-1]


def test_an_image_of_another_folder_is_not_taken_for_a_missing_one(tmp_path):
    images(tmp_path, "train/a.png", "b.png")
    (tmp_path / "t.csv").write_text("path,label\nval/a.png,0\n")
    with pytest.raises(DataError, match="none of the 1 images"):
        labelled_index(tmp_path / "t.csv", PETS)
    (tmp_path / "t.csv").write_text("path,label\na.png,0\nb.png,1\n")
    assert [Path(item.path).is_file() for item in labelled_index(tmp_path / "t.csv", PETS).items] == [False, True]


def test_names_in_bytes_that_are_no_utf8_find_their_files(tmp_path):
    """So does the index that a fine-tuning wrote of them."""
    name, folder = os.fsdecode(b"\xe4.png"), tmp_path / "数据"
    images(folder, name)
    (folder / "t.csv").write_bytes(b"path,label\n\xe4.png,cat\nmissing.png,dog\n")
    item, missing = labelled_index(folder / "t.csv", PETS).items
    assert (item.source, missing.source) == (folder / name, folder / "missing.png")


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(
    [*"01 \t,;|\n\r\"'\0é.\\/", "path", "label", "a.png", "cat", "n1", "4.0", "\ufeff"]), max_size=25,
).map(lambda pieces: "".join(pieces).encode())))  # fmt: skip
def test_no_bytes_end_in_a_traceback(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "fuzzed" / "t.csv"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with suppress(DataError):
        assert set(read_ground_truth(file, PETS).rows.values()) <= set(range(4))
        labelled_index(file, PETS)


# A folder and its ground truth


def labelled(tmp_path: Path, text: str, labels: Labels = PETS) -> list[tuple[str, int | None]]:
    (tmp_path / "truth.txt").write_text(text)
    root = tmp_path / "val"
    data = labelled_by(root, tmp_path / "truth.txt", labels)
    return [(Path(item.path).relative_to(root).as_posix(), item.label) for item in data.items]


def test_images_are_matched_by_name_with_or_without_ending(tmp_path):
    images(tmp_path / "val", "a.png", "b.JPEG", "c.webp")
    assert labelled(tmp_path, "c.webp 2\nsomewhere/else/b 1\nD:\\data\\a.png 0\n") == [
        ("a.png", 0),
        ("b.JPEG", 1),
        ("c.webp", 2),
    ]


def test_folders_decide_between_rows_of_the_same_name(tmp_path):
    images(tmp_path / "val", "one/x.png", "two/x.png")
    assert labelled(tmp_path, "/data/val/one/x.png 0\n/data/val/two/x.png 1\n") == [("one/x.png", 0), ("two/x.png", 1)]


@pytest.mark.parametrize(
    ("names", "text", "message"),
    [
        (["one/x.png", "two/x.png"], "x.png 0\n", "2 of the 2 images in .* have no class in .*truth.txt, or two"),
        (["x.png"], "a/x.png 0\nb/x.png 1\n", "1 of the 1 images .*, or two"),
        (["x.png", "y.png", "z.png"], "x.png 0\n", "2 of the 3 images in .* have no class in .*y.png, .*z.png"),
        ([], "x.png 0\n", "0 of the 0 images"),
    ],
)
def test_what_is_not_clear_is_an_error(tmp_path, names, text, message):
    (tmp_path / "val").mkdir()
    images(tmp_path / "val", *names)
    with pytest.raises(DataError, match=message):
        labelled(tmp_path, text)


def test_accents_and_dots_in_names_do_not_part_an_image_from_its_row(tmp_path):
    decomposed = unicodedata.normalize("NFD", "é.png")
    images(tmp_path / "val", "v1.5.jpg", decomposed)
    assert labelled(tmp_path, "v1.5 0\né 1\n") == [(decomposed, 1), ("v1.5.jpg", 0)]


def test_images_without_a_row_say_which_folder_has_some(tmp_path):
    """Kaggle's ImageNet keeps those of its test beside them."""
    images(tmp_path / "val", "val/a.png", "val/b.png", "test/c.png")
    (tmp_path / "truth.txt").write_text("a 0\nb 1\n")
    with pytest.raises(DataError, match="1 of the 3 images") as caught:
        labelled_by(tmp_path / "val", tmp_path / "truth.txt", PETS)
    assert caught.value.hint == f"give {tmp_path / 'val' / 'val'}, which holds those that have one"


def test_rows_without_an_image_are_told_in_the_name(tmp_path):
    images(tmp_path / "val", "x.png")
    (tmp_path / "val.txt").write_text("x.png 0\ny.png 1\nz.png 1\n")
    assert labelled_by(tmp_path / "val", tmp_path / "val.txt", PETS).name == "val (1 of the 3 images in val.txt)"
    (tmp_path / "val.txt").write_text("x.png 0\n")
    assert labelled_by(tmp_path / "val", tmp_path / "val.txt", PETS).name == "val"
