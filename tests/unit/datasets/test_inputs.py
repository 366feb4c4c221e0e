"""Images as Python callers pass them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import grey_png, write_hub
from wideresnet.datasets.inputs import SkippedWarning, input_item, input_items
from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.decode import decode
from wideresnet.images.loader import load_crop
from wideresnet.records import Item, Preprocess
from wideresnet.tasks.classify.sources import InputImages

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)


def turned_jpeg() -> bytes:
    """A JPEG of 6 x 4 pixels that its EXIF block turns by 90 degrees."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(RED).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_one_image_or_several_of_any_kind() -> None:
    pil = Image.fromarray(RED)
    assert [item.path for item in input_items([RED, b"data", pil, "a.png", Path("b.png")])] == [
        "image 0", "image 1", "image 2", "a.png", "b.png"
    ]  # fmt: skip
    for single in (RED, b"data", pil, "a.png", Path("a.png")):
        assert len(list(input_items(single))) == 1
    assert len(list(input_items(np.stack([RED, RED])))) == 2
    assert list(input_items(())) == []


@pytest.mark.parametrize("exif", ["ignore", "transpose"])
def test_a_pillow_image_is_decoded_as_its_file(exif) -> None:
    data = turned_jpeg()
    (item,) = input_items(Image.open(io.BytesIO(data)), exif)
    assert np.array_equal(item.source, decode(data, exif=exif))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb_and_the_image_stays_as_it_was(mode) -> None:
    image = Image.fromarray(RED).convert(mode)
    (item,) = input_items(image)
    assert (item.source.dtype, item.source.shape, image.mode) == (np.uint8, (4, 6, 3), mode)


def test_transparency_is_composited_on_white_if_asked() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    (dropped,), (white,) = input_items(image), input_items(image, alpha="white")
    assert (dropped.source[0, 0].tolist(), white.source[0, 0].tolist()) == ([255, 0, 0], [255, 255, 255])


def crop_of(item: Item) -> np.ndarray:
    return load_crop(item.source, Preprocess(resize=4, crop=4))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.open(io.BytesIO(turned_jpeg()[:-4])), "the Pillow image cannot be read: image file is truncated"),
        (Image.fromarray(np.full((2, 2), 7, np.float32)), r"outside 0..1"),
        (Image.fromarray(np.arange(-4, 5, dtype=np.int32)[None]), "holds int32 values from -4 to 4, outside"),
        (Image.fromarray(np.array([[0, 65536]], np.int32)), "holds int32 values from 0 to 65536, outside"),
        (RED / 255, r"the array is float64 \[4, 6, 3\], not RGB uint8"),
        (np.zeros((4, 6, 3), np.uint16), r"the array is uint16"),
        (np.zeros((5, 6, 7), np.uint8), r"the array is uint8 \[5, 6, 7\]"),
        (np.zeros((0, 6, 3), np.uint8), "the image has no pixels"),
    ],
)
def test_what_cannot_be_converted_fails_when_it_is_read(image, message) -> None:
    """Then it is one failure among the answers, and does not end the work on the others."""
    bad, good = input_items([image, RED])
    with pytest.raises(ImageError, match=message):
        crop_of(bad)
    assert crop_of(good).shape == (4, 4, 3)


def test_arrays_with_one_meaning_are_taken() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    opaque = np.dstack([colours, np.zeros((4, 6, 1), np.uint8)])
    for array in (colours, np.moveaxis(colours, 2, 0), opaque, np.moveaxis(opaque, 2, 0)):
        assert np.array_equal(input_item(array, "ignore", "drop").source, colours)
    assert (input_item(opaque, "ignore", "white").source == 255).all()
    grey = colours[..., 0]
    for array in (grey, grey[..., None], grey[None]):
        assert np.array_equal(input_item(array, "ignore", "drop").source, np.dstack([grey, grey, grey]))


class Tensor:
    """As torch's: it becomes an array, unless it has a gradient."""

    def __init__(self, values: np.ndarray | None) -> None:
        self.values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.values is None:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.values


def test_tensors_of_other_libraries_are_arrays() -> None:
    tensor = Tensor(np.moveaxis(RED, 2, 0))
    for images in (tensor, [tensor]):
        (item,) = input_items(images)
        assert np.array_equal(item.source, RED)
    with pytest.raises(ConfigError, match="image 0 cannot be read as an array: Can't call") as caught:
        list(input_items([Tensor(None)]))
    assert caught.value.hint == "give tensor.detach().cpu()"


def test_open_files_are_read_when_their_turn_comes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    with (tmp_path / "a.png").open("rb") as file:
        (item,) = input_items(file)
    assert (item.path, item.source) == (str(tmp_path / "a.png"), b"content")
    unread, memory = io.BytesIO(b"two"), io.BytesIO(b"one")
    items = input_items([memory, unread])
    assert (next(items).source, unread.tell()) == (b"one", 0)
    (closed,) = input_items(bytearray(b"data"))
    assert closed.source == b"data"
    with (tmp_path / "a.png").open() as text, pytest.raises(ConfigError, match="opened as text"):
        list(input_items([text]))


def test_a_buffer_that_was_just_written_is_read_from_its_start() -> None:
    """Its position is at the end; Pillow rewinds it, too."""
    buffer = io.BytesIO()
    Image.fromarray(RED).save(buffer, "PNG")
    (item,) = input_items(buffer)
    assert item.source == buffer.getvalue()


def test_generators_and_columns_of_tables_are_several_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        Image.fromarray(RED).save(tmp_path / name)
    assert sorted(item.path for item in input_items(tmp_path.glob("*.png"))) == [f"{tmp_path}/{n}.png" for n in "ab"]
    column = np.array(["a.png", "b.png"], object)
    assert [item.path for item in input_items(column)] == ["a.png", "b.png"]


def test_a_folder_is_walked_in_order_and_says_what_it_passes_over(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("z.png", "a.png", "sub/b.png"):
        Image.fromarray(RED).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.warns(SkippedWarning, match=r"passed over 1 file in .*: 1 \.txt"):
        names = [item.path for item in input_items([tmp_path, "c.png"])]
    assert names == [f"{tmp_path}/a.png", f"{tmp_path}/sub/b.png", f"{tmp_path}/z.png", "c.png"]


def test_a_folder_without_images_is_a_failure_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (item,) = input_items(tmp_path)
    with pytest.raises(ImageError, match=f"no images in {tmp_path}"):
        crop_of(item)


@pytest.mark.parametrize(("images", "name"), [(7, "the argument"), ([RED, 7], "image 1"), (None, "the argument")])
def test_an_object_that_is_no_image_is_a_config_error(images, name) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not an image"):
        list(input_items(images))


def test_a_generator_may_fill_its_buffer_again() -> None:
    def frames():
        buffer = np.empty_like(RED)
        for value in (1, 2, 3):
            buffer[:] = value
            yield buffer

    assert [int(item.source.max()) for item in input_items(frames())] == [1, 2, 3]


def test_an_empty_path_is_a_failure_and_not_the_current_folder() -> None:
    items = list(input_items(["a.png", "", "b.png"]))
    assert [item.path for item in items] == ["a.png", "image 1", "b.png"]
    with pytest.raises(ImageError, match="empty string"):
        items[1].source.read(1)
    with pytest.raises(ImageError, match="empty string"):
        input_item("", "transpose", "drop").source.read(1)


@pytest.mark.parametrize("array", [np.zeros(9, np.uint8), np.uint8(3), np.array([])])
def test_an_array_that_is_no_image_is_a_failure_of_its_own(array) -> None:
    (item,) = input_items([array])
    with pytest.raises(ImageError, match=r"not RGB|no pixels"):
        load_crop(item.source, Preprocess(resize=4, crop=4))


def test_an_array_of_one_path_is_that_path() -> None:
    assert [item.path for item in input_items(np.array("x.png"))] == ["x.png"]


def test_rows_of_several_parquet_files_have_different_names(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    rows = [{"bytes": grey_png(1), "path": "0.jpg"}]
    a, b = (write_hub(tmp_path / f"{name}.parquet", {"image": rows}) for name in "ab")
    assert [item.path for item in input_items([a, b])] == [f"{a}/0.jpg", f"{b}/0.jpg"]
    assert [item.path for item in InputImages([a, b])] == [f"{a}/0.jpg", f"{b}/0.jpg"]
    assert [item.path for item in input_items([a])] == [item.path for item in InputImages([a])] == ["0.jpg"]


def test_a_closed_file_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(grey_png(1))
    closed = (tmp_path / "a.png").open("rb")
    closed.close()
    first, second = input_items([closed, tmp_path / "a.png"])
    with pytest.raises(ImageError, match="the open file cannot be read"):
        first.source.read(1)
    assert second.source == tmp_path / "a.png"
