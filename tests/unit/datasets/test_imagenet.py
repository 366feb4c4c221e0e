from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from devkit import FIRST, WNIDS, by_class, devkit_archive, devkit_folder, flat, meta, name, tar, truth, val_archive
from mat5 import write_structs
from shared import needs_shared
from wideresnet.datasets import imagenet
from wideresnet.datasets.imagenet import (
    REFERENCE_LABELS,
    all_labels,
    check_counts,
    devkit_labels,
    find_val_images,
    merge_labels,
    number_of,
    open_source,
    wnid_of,
)
from wideresnet.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("ILSVRC2012_val_00000293.JPEG", 293),
        ("val/n01440764/ILSVRC2012_val_00000293.jpg", 293),
        ("D:\\val\\ILSVRC2012_val_00050000.JPEG", 50_000),
        ("ILSVRC2012_val_00000293", 293),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", 293),
        ("ILSVRC2012_val_00050001.JPEG", 0),
        ("ILSVRC2012_val_00000000.JPEG", 0),
        ("ILSVRC2012_test_00000293.JPEG", 0),
        ("n01440764_293.JPEG", 0),
        ("copy of ILSVRC2012_val_00000293.JPEG", 0),
    ],
)
def test_images_are_known_by_their_number(text, number):
    assert number_of(text) == number


def test_the_devkits_numbers_are_translated_by_their_ids():
    """Numbers 1 to 1000 never become indices by subtraction."""
    assert devkit_labels(truth(), meta()) == FIRST


@pytest.mark.parametrize("text", ["0\n", "1001\n", "12\ncat\n", "-1\n"])
def test_ground_truth_beyond_the_classes_is_refused(text):
    with pytest.raises(DataError, match="line"):
        devkit_labels(text, meta())


def test_a_meta_file_of_other_classes_is_refused():
    with pytest.raises(DataError, match="not of the 1000 classes"):
        devkit_labels(truth(), meta(999))


def test_numbers_of_a_meta_file_that_are_none_are_refused():
    rows = [{"ILSVRC2012_ID": float("nan"), "WNID": "n01440764", "num_children": 0.0}]
    with pytest.raises(DataError, match="has no number ILSVRC2012_ID"):
        devkit_labels(truth(), write_structs("synsets", rows))


def test_the_devkit_opens_as_an_archive_and_as_a_folder_at_any_height(tmp_path):
    folder = devkit_folder(tmp_path / "in")
    archive = devkit_archive(tmp_path)
    for path in (archive, folder, folder / "data", tmp_path / "in"):
        source = open_source(path)
        assert (source.images, source.meta, source.truth) == (False, meta(), truth())


def test_the_devkits_files_may_come_one_by_one(tmp_path):
    data = devkit_folder(tmp_path) / "data"
    sources = [open_source(data / "ILSVRC2012_validation_ground_truth.txt"), open_source(data / "meta.mat")]
    assert list(all_labels(sources, {}).values()) == [FIRST]


def test_ground_truth_without_meta_is_refused_and_the_reason_said(tmp_path):
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    source = open_source(tmp_path / "ILSVRC2012_validation_ground_truth.txt")
    with pytest.raises(DataError, match=r"without meta\.mat") as caught:
        all_labels([source], {})
    assert "not in the order of the sorted WordNet ids" in caught.value.hint


def test_images_open_as_a_folder_and_as_an_archive(tmp_path):
    assert open_source(flat(tmp_path / "val")).images
    assert open_source(val_archive(tmp_path)).archive


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{name(number)} {index}\n" for number, index in FIRST.items()),
        "".join(f"val/{name(number)},{WNIDS[index]}\n" for number, index in FIRST.items()),
        "ImageId,PredictionString\n"
        + "".join(f"{name(number)[:-5]},{WNIDS[index]} 85 1 499 272\n" for number, index in FIRST.items()),
        "".join(f"{WNIDS[index]}\n" for index in FIRST.values()),
    ],
)
def test_files_of_names_and_classes_give_labels(tmp_path, text):
    (tmp_path / "val.txt").write_text(text)
    assert open_source(tmp_path / "val.txt").labels == FIRST


def test_anything_else_is_refused_with_what_is_accepted(tmp_path):
    (tmp_path / "other.txt").write_text("cat.jpg 3\n")
    tar(tmp_path / "other.tar", {"readme.txt": b"hello"})
    tar(tmp_path / "train.tar", {"n01440764.tar": b"pictures"})
    for file in ("other.txt", "other.tar", "train.tar"):
        with pytest.raises(DataError) as caught:
            open_source(tmp_path / file)
        assert "ILSVRC2012_devkit_t12.tar.gz" in caught.value.hint
    with pytest.raises(ConfigError, match="no such file or directory"):
        open_source(tmp_path / "absent")


def test_an_archive_cut_short_is_an_error(tmp_path):
    archive = devkit_archive(tmp_path)
    (tmp_path / "cut.tar.gz").write_bytes(archive.read_bytes()[:1500])
    with pytest.raises(DataError, match="cut"):
        open_source(tmp_path / "cut.tar.gz")


def test_images_are_found_and_others_are_listed(tmp_path):
    root = flat(tmp_path / "val")
    (root / "holiday.jpg").touch()
    (root / "notes.txt").touch()
    result = find_val_images([root, root])
    assert list(result.by_number) == list(FIRST)
    assert result.other_images == [str(root / "holiday.jpg")]


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    flat(tmp_path / "a", (1,))
    flat(tmp_path / "b", (1,))
    with pytest.raises(DataError, match="the same image"):
        find_val_images([tmp_path])


def test_class_folders_and_names_say_the_class(tmp_path):
    images = find_val_images([by_class(tmp_path)]).by_number
    assert all_labels([], images) == {"class folders": FIRST}
    assert wnid_of(PurePosixPath("val/ILSVRC2012_val_00000293_n01440764.JPEG")) == "n01440764"
    with pytest.raises(DataError, match="none of the 1000 classes"):
        all_labels([], {1: Path("n00000001") / name(1)})


def test_without_labels_it_says_where_labels_come_from(tmp_path):
    images = find_val_images([flat(tmp_path)]).by_number
    with pytest.raises(DataError, match="without labels") as caught:
        all_labels([], images)
    assert "val.txt" in caught.value.hint


def test_sources_that_disagree_are_refused():
    assert merge_labels({"val.txt": {7: 1, 8: 2}, "class folders": {8: 2, 9: 3}}) == {7: 1, 8: 2, 9: 3}
    with pytest.raises(DataError, match="disagree on 2 images: ILSVRC2012_val_00000008 is class 5 in class folders"):
        merge_labels({"val.txt": {7: 1, 8: 2, 9: 3}, "class folders": {7: 1, 8: 5, 9: 6}})


@pytest.mark.parametrize("shift", [1, -1, 500])
def test_labels_in_another_order_are_found_out_by_known_images(shift):
    with pytest.raises(DataError, match=r"not in the set's order: ILSVRC2012_val_00000001 is of class 65") as caught:
        merge_labels({"val.txt": {number: index + shift for number, index in FIRST.items()}})
    assert "count from 1" in caught.value.hint


def test_more_images_of_a_class_than_the_set_has_are_refused():
    assert check_counts(dict.fromkeys(range(50), 3)) == {3: 50}
    with pytest.raises(DataError, match="class 3 has 51 images"):
        check_counts(dict.fromkeys(range(51), 3))


@needs_shared("data", "imagenette-224.tar")
@pytest.mark.slow
def test_known_images_are_those_of_imagenette():
    """500 true images of the set, in the class folders of another project."""
    with imagenet.open_tar(Path(__file__).parents[3] / ".." / "shared" / "data" / "imagenette-224.tar") as archive:
        names = [PurePosixPath(member.name) for member in archive]
    result = {number_of(path.name): WNIDS.index(wnid_of(path)) for path in names if number_of(path.name)}
    assert len(result) == 500
    assert merge_labels({"Imagenette": result}) == result
    assert len(REFERENCE_LABELS.keys() & result.keys()) >= 8
