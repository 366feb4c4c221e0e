"""What bytes are, by their first few: which reader they need, or what they are instead of a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# Signatures of the formats' own specifications; these are the formats that we read.
_PICTURES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff(?!\xf7|\xe8\0 SPIFF)")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WebP", re.compile(rb"RIFF....WEBPVP8", re.DOTALL)),
    ("BMP", re.compile(rb"BM")),
    ("TIFF", re.compile(rb"II\*\0(?!....CR)|MM\0\*|II\x2b\0", re.DOTALL)),
    ("PPM", re.compile(rb"P[1-6f]\s")),
    ("JPEG 2000", re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n")),
    ("AVIF", re.compile(rb"....ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,9}?avi[fs])", re.DOTALL)),
    ("HEIC", re.compile(rb"....ftyp(hei[cfmsx]|hev[cmsx]|m[is]f1)", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")),
    ("NPZ", re.compile(rb"PK\x03\x04.{26}[^/\0]{1,99}?\.npy", re.DOTALL)),       # a ZIP whose first file is an array
)
READABLE = ", ".join(name for name, _ in _PICTURES)


@dataclass(frozen=True)
class NoPicture:
    """What some bytes are instead of a picture, and what to do about it."""

    what: str
    hint: str


_EXPORT = "export its images into class folders, into tar shards (key.jpg, key.cls) or into Parquet (image, label)"
DEVELOP = "develop it first, for instance: darktable-cli IN OUT.jpg"
CONVERT = "convert it first: magick IN OUT.png"
_SCALE = "save it in 8 bits first, scaled with one range for all files"
_AGAIN = "it was probably cut short in a copy or download: fetch it again"
_OTHERS: tuple[tuple[re.Pattern[bytes], NoPicture], ...] = (
    (re.compile(rb"%PDF-"), NoPicture("a PDF document", "save its page as PNG first")),
    (re.compile(rb"PK\x03\x04"), NoPicture("a ZIP archive", "unpack it first")),
    (re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"), NoPicture("a 7z or RAR archive", "unpack it first")),
    (re.compile(rb".{257}ustar", re.DOTALL), NoPicture("a tar archive", "unpack it, or give it to 'wrn classify'")),
    (re.compile(rb"PAR1"), NoPicture("a Parquet file", "give it to 'wrn classify' or 'wrn evaluate'")),
    (
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd"),
        NoPicture("data compressed with gzip, bzip2, xz or Zstandard", "unpack it first"),
    ),
    (re.compile(rb"\x80[\x02-\x05]"), NoPicture("a Python pickle", _EXPORT)),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), NoPicture("an HDF5 file", _EXPORT)),
    (re.compile(rb"ARROW1|\xff\xff\xff\xff..\0\0\x10\0\0\0", re.DOTALL), NoPicture("an Arrow file", _EXPORT)),
    (re.compile(rb".{16}\xde\xc0\xef\xbe", re.DOTALL), NoPicture("an LMDB database, such as LSUN's", _EXPORT)),
    (re.compile(rb".{4}\0{4}.{4}\n", re.DOTALL), NoPicture("a TFRecord file", _EXPORT)),
    (re.compile(rb"II\*\0.{4}CR|.{4}ftypcrx ", re.DOTALL), NoPicture("a Canon camera's raw data", DEVELOP)),
    (re.compile(rb"FUJIFILMCCD-RAW"), NoPicture("a Fujifilm camera's raw data", DEVELOP)),
    (re.compile(rb"IIU\0"), NoPicture("a Panasonic camera's raw data", DEVELOP)),
    (re.compile(rb"IIR[OS]|MMOR"), NoPicture("an Olympus camera's raw data", DEVELOP)),
    (re.compile(rb"MM\0\x2b"), NoPicture("a BigTIFF of big-endian numbers", "convert it: gdal_translate IN OUT.tif")),
    (re.compile(rb"\xff\xd8\xff(\xf7|\xe8\0 SPIFF)"), NoPicture("a JPEG-LS image", CONVERT)),
    (re.compile(rb"II\xbc\x01"), NoPicture("a JPEG XR image", CONVERT)),
    (re.compile(rb"P7\n"), NoPicture("a PAM image", CONVERT)),
    (re.compile(rb"PF\s"), NoPicture("a PFM image of colours in floats", _SCALE)),
    (re.compile(rb"\x76\x2f\x31\x01"), NoPicture("an OpenEXR image", _SCALE)),
    (re.compile(rb"\x93NUMPY"), NoPicture("a NumPy array", _SCALE)),
    (re.compile(rb".{128}DICM", re.DOTALL), NoPicture("a DICOM image", _SCALE)),
    (re.compile(rb"....ftyp", re.DOTALL), NoPicture("a video", "save a frame as a picture first")),
    (re.compile(rb"8BPS"), NoPicture("a Photoshop document", "export it as PNG first")),
    (
        re.compile(rb"version https://git-lfs"),
        NoPicture("a Git LFS pointer", "fetch the real file with 'git lfs pull'"),
    ),
)


def first_bytes(file: Path) -> bytes:
    """The first 512 bytes of a regular file; none of anything else, and where it cannot be read."""
    if not file.is_file():
        return b""
    try:
        with file.open("rb") as start:
            return start.read(512)
    except OSError:
        return b""


def picture_format(data: bytes) -> str | None:
    """The name of the picture format of these bytes, or None when it is none that we read."""
    return next((name for name, signature in _PICTURES if signature.match(data)), None)


def no_picture(data: bytes) -> NoPicture:
    """What bytes without a picture's signature are, for an error's words."""
    if not data:
        return NoPicture("an empty file", _AGAIN)
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    if (known := _markup(head) or other_format(head)) is not None:
        return known
    if not any(data[:4096]):
        return NoPicture("nothing but zero bytes", _AGAIN)
    if _is_text(head):
        return NoPicture("text", f"give a picture: {READABLE}")
    return NoPicture("data of an unknown kind", f"give a picture: {READABLE}")


def other_format(data: bytes) -> NoPicture | None:
    """What bytes with the signature of a format that is none of pictures are, or None."""
    return next((found for signature, found in _OTHERS if signature.match(data)), None)


def _markup(head: bytes) -> NoPicture | None:
    text = head.lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if any(tag in text for tag in (b"<!doctype html", b"<html", b"<head", b"<body")):
        return NoPicture("an HTML page", "a download probably saved an error page under the picture's name")
    if b"<svg" in text:
        return NoPicture("an SVG drawing", "a drawing has no pixels: export it as PNG first")
    return None


def _is_text(head: bytes) -> bool:
    try:
        # A character may be cut in two at the end of the head.
        text = head.decode("utf-8", errors="strict" if len(head) < 4000 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
