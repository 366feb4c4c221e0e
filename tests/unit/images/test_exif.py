from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wideresnet.images.exif import orientation, split_exif


def block(order: str = "<", value: int = 6, tag: int = 0x0112, kind: int = 3) -> bytes:
    """An EXIF block of one entry, behind one that says nothing."""
    signature = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0) + struct.pack(
        f"{order}HHIHxx", tag, kind, 1, value
    )
    return b"Exif\0\0" + signature + struct.pack(f"{order}IH", 8, 2) + entries


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_both_byte_orders(order, value):
    assert orientation(block(order, value)) == value
    assert orientation(block(order, value).removeprefix(b"Exif\0\0")) == value


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"Exif\0\0",
        block(value=0),
        block(value=9),
        block(kind=7),
        block(tag=0x0111),
        block()[:-3],
        b"x" * 99,
    ],
)
def test_garbage_is_upright(garbage):
    assert orientation(garbage) == 1


@given(st.binary(max_size=200))
def test_no_bytes_raise(data):
    assert orientation(b"II*\0" + data) in range(1, 9)
    split_exif(b"\xff\xd8" + data)


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def test_only_the_exif_segments_are_taken_out():
    """What comes before, between and after stays, XMP (also in APP1) included."""
    before, between = segment(0xE0, b"JFIF"), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0")
    after = segment(0xDB, b"q" * 64) + segment(0xDA, b"") + b"Exif\0\0 in the pixels"
    jpeg = b"\xff\xd8" + before + segment(0xE1, block()) + between + segment(0xE1, b"Exif\0\0second") + after
    assert split_exif(jpeg) == (b"\xff\xd8" + before + between + after, block())


def test_without_exif_the_bytes_are_the_same_object():
    jpeg = b"\xff\xd8" + segment(0xE0, b"JFIF") + segment(0xDA, b"")
    stripped, exif = split_exif(jpeg)
    assert stripped is jpeg
    assert exif == b""
