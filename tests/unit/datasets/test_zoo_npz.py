"""The zoo's decoded images as labelled data: class folders of .npz files, or a list of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes import FakeEngine
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.zoo_npz import is_npz_data, labelled_npz
from wideresnet.errors import DataError
from wideresnet.images.decode import decode
from wideresnet.records import Labels

LABELS = Labels(("cat", "dog", "crane", "crane"), ("n1", "n2", "n3", "n4"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three files in two class folders, as image2npz lays them out."""
    for number, name in enumerate(("n4/b", "n2/c", "n2/a")):
        file = tmp_path / "npz" / f"{name}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, input_0=FakeEngine().image(number).transpose(2, 0, 1))
    return tmp_path / "npz"


def listed(file: Path, *lines: str | Path) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def test_class_folders_of_npz_files(root: Path) -> None:
    assert is_npz_data(root)
    data = labelled_npz(root, LABELS)
    assert (data.name, data.classes, data.present) == ("npz", 4, (1, 3))
    assert [(item.path, item.label) for item in data.items] == [
        (str(root / "n2" / "a.npz"), 1),
        (str(root / "n2" / "c.npz"), 1),
        (str(root / "n4" / "b.npz"), 3),
    ]
    assert isinstance(data.items[0].source, Path)
    assert np.array_equal(decode(data.items[0].source), FakeEngine().image(2))


def test_a_list_keeps_its_order_whatever_its_paths_hold(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a list: odd").mkdir()
    lines = "\ufeff../npz/n4/b.npz", "", root / "n2" / "a.npz", "../npz/n1/gone 1.npz"
    file = listed(tmp_path / "a list: odd" / "npz.txt", *lines)
    assert is_npz_data(file)
    data = labelled_npz(file, LABELS)
    labels = [(Path(item.path).name, item.label) for item in data.items]
    assert labels == [("b.npz", 3), ("a.npz", 1), ("gone 1.npz", 0)]
    assert (data.name, data.items[1].path) == ("npz", str(root / "n2" / "a.npz"))


def test_other_data_is_not_taken_for_it(root: Path, tmp_path: Path) -> None:
    assert not is_npz_data(listed(tmp_path / "val.txt", "a.JPEG 65"))
    assert not is_npz_data(listed(tmp_path / "list.csv", "a.npz"))
    assert not is_npz_data(tmp_path / "absent.txt")
    assert not is_npz_data(tmp_path / "absent")
    (root / "n1").mkdir()
    (root / "n1" / "a.png").touch()                # images with something beside them
    assert not is_npz_data(root)


def test_a_folder_of_no_class_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder of .*crane/a\.npz fits none of the 4 classes"):
        labelled_npz(listed(tmp_path / "npz.txt", root / "n2" / "a.npz", "crane/a.npz"), LABELS)


def test_a_list_of_another_machine_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 2 files .* exists, such as /far/n1/a\.npz"):
        labelled_npz(listed(tmp_path / "npz.txt", "/far/n1/a.npz", "/far/n1/b.npz"), LABELS)


def test_the_zoos_folders_are_class_folders(tmp_path: Path) -> None:
    """*/*.JPEG: what its script globs."""
    for name in ("n2/ILSVRC2012_val_00000002.JPEG", "n1/ILSVRC2012_val_00000003.JPEG"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    data = labelled_folder(tmp_path, LABELS)
    assert [(Path(item.path).name, item.label) for item in data.items] == [
        ("ILSVRC2012_val_00000003.JPEG", 0),
        ("ILSVRC2012_val_00000002.JPEG", 1),
    ]
