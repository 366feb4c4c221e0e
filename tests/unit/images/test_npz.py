"""Images and arrays in .npz files: plain numbers only, and a defined answer to every other file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import tiny_images
from wideresnet.errors import ImageError
from wideresnet.images import npz
from wideresnet.images.decode import decode
from wideresnet.images.npz import read_array

IMAGE = tiny_images(1, 20)[0][:15]             # 20 wide, 15 high


def saved(**arrays: object) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)                        # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("lead", [(), (1,)])
def test_the_zoos_image_is_decoded_like_any_other(tmp_path: Path, lead: tuple[int, ...]) -> None:
    """Planes of colour, with or without a batch of one; the ending of the name says nothing."""
    planes = IMAGE.transpose(2, 0, 1).reshape(*lead, 3, 15, 20)
    (tmp_path / "a.npz").write_bytes(saved(input_0=planes))
    assert np.array_equal(decode(tmp_path / "a.npz"), IMAGE)
    assert np.array_equal(decode(saved(other=np.zeros(3), input_0=planes)), IMAGE)


def test_a_compressed_one_too() -> None:
    out = io.BytesIO()
    np.savez_compressed(out, input_0=IMAGE.transpose(2, 0, 1))
    assert np.array_equal(decode(out.getvalue()), IMAGE)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGE, r"uint8 \[15, 20, 3\]"),
        (IMAGE.transpose(2, 0, 1).astype(np.float32), r"float32 \[3, 15, 20\]"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"uint8 \[2, 3, 4, 4\]"),
        (np.zeros((3, 0, 4), np.uint8), r"uint8 \[3, 0, 4\]"),
    ],
)
def test_another_array_is_no_image(array: NDArray[np.generic], message: str) -> None:
    with pytest.raises(ImageError, match=f"input_0 is {message}, not RGB uint8"):
        decode(saved(input_0=array))


def test_a_file_without_the_array_says_what_it_has() -> None:
    with pytest.raises(ImageError, match="no array input_0") as caught:
        decode(saved(image=IMAGE, label=np.int64(3)))
    assert caught.value.hint == "it has image, label"


class Bomb:
    """Would say so if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was read",)


def test_pickles_are_refused_without_being_read() -> None:
    with pytest.raises(ImageError, match="pickled objects, which could execute code"):
        decode(saved(input_0=np.array([Bomb()], object)))


@pytest.mark.parametrize("cut", [60, 200, 500, -1])
def test_a_file_cut_short_is_damaged(cut: int) -> None:
    with pytest.raises(ImageError, match="damaged"):
        decode(saved(input_0=IMAGE.transpose(2, 0, 1))[:cut])


def test_an_array_of_wrong_length_is_damaged() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (3, 10**6, 10**6)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("input_0.npy", header.getvalue() + b"12345")
    with pytest.raises(ImageError, match="damaged"):
        decode(out.getvalue())


def test_an_array_beyond_the_limit_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAX_BYTES", 500)
    with pytest.raises(ImageError, match="more than the limit of 500"):
        decode(saved(input_0=IMAGE.transpose(2, 0, 1)))


def test_an_ordinary_archive_is_still_none() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("photo.jpg", b"x")
        archive.writestr("a.npy", b"x")
    with pytest.raises(ImageError, match="a ZIP archive"):
        decode(out.getvalue())


def test_an_array_is_read_from_a_file_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(saved(output_0=np.arange(3, dtype=np.float16)))
    assert read_array(tmp_path / "a.npz", "output_0").tolist() == [0, 1, 2]
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        read_array(tmp_path / "b.npz", "output_0")
    (tmp_path / "c.npz").write_bytes(b"no archive")
    with pytest.raises(ImageError, match=r"damaged \.npz file"):
        read_array(tmp_path / "c.npz", "output_0")
