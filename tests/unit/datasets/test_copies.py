"""The same image in two sets, by its bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import grey_png, write_hub
from wideresnet.datasets import copies
from wideresnet.datasets.copies import count_shared, notes_on_shared
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.parquet import parquet_rows
from wideresnet.records import Item


def test_images_in_two_sets_are_found_by_their_bytes(tmp_path: Path) -> None:
    """The same file, a copy under another name and the same pixels of an archive count; what is no image does not."""
    for name, colour in (("a.png", "red"), ("copy.png", "red"), ("other.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(tmp_path / name)
    (tmp_path / "empty.png").touch()
    names = ("a.png", "copy.png", "other.png", "gone.png", "empty.png")
    files = {name: Item(name, tmp_path / name) for name in names}
    assert count_shared([files["a.png"]], list(files.values())) == 2
    assert count_shared([files["gone.png"], files["empty.png"]], list(files.values())) == 0
    pixels = np.arange(2 * 12, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert count_shared([Item("a", pixels[0])], [Item("b", pixels[0].copy()), Item("c", pixels[1])]) == 1


def test_rows_of_parquet_files_are_found_too(tmp_path: Path) -> None:
    """Their row groups differ in size."""
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    images = []
    for name, greys in (("a", (1, 2, 3)), ("b", (3, 4, 5, 6, 1))):
        rows = [{"bytes": grey_png(grey), "path": f"{grey}.png"} for grey in greys]
        write_hub(tmp_path / f"{name}.parquet", {"image": rows, "label": [0] * len(rows)})
        images.append([Item(path, source) for path, source, _ in parquet_rows(str(tmp_path / f"{name}.parquet"))])
    assert count_shared(*images) == 2


def labelled(name: str, *values: int) -> LabelledData:
    return LabelledData(name, [Item(f"{name}/{value}", bytes([value, 0])) for value in values], 1)


def test_each_two_of_the_sets_that_share_images_are_named() -> None:
    train, val, test = labelled("train", 1, 2, 3), labelled("val", 3, 4, 2), labelled("test", 9, 4)
    assert list(notes_on_shared(train, val, test)) == [
        "2 images are in train and in val, so that the figure on val is too optimistic",
        "1 images are in val and in test, so that the figure on test is too optimistic",
    ]
    assert not list(notes_on_shared(train, labelled("test", 8), labelled("none")))


def test_of_a_large_set_some_images_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MAX_COMPARED", 3)
    train, val = labelled("train", *range(4)), labelled("val", *range(8))
    assert list(notes_on_shared(train, val)) == [
        "2 images of 3 that were compared are in train and in val, so that the figure on val is too optimistic"
    ]
