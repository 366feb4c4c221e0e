"""File formats by their signatures: the image formats that are read, and others for error messages."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# The formats that are read, with the signatures in their specifications.
_IMAGES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
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
READABLE = ", ".join(name for name, _ in _IMAGES)


@dataclass(frozen=True)
class NotAnImage:
    """A format of bytes that are not an image, with an article, and how to get an image from it."""

    name: str
    hint: str


_EXPORT = "export its images into class folders, into tar shards (key.jpg, key.cls) or into Parquet (image, label)"
DEVELOP = "develop it first, for instance: darktable-cli IN OUT.jpg"
CONVERT = "convert it first: magick IN OUT.png"
_UNPACK = "unpack it first"
_SCALE = "save it in 8 bits first, scaled with one range for all files"
_FETCH_AGAIN = "it was probably cut short in a copy or download: fetch it again"
_OTHERS = tuple((re.compile(signature, re.DOTALL), NotAnImage(name, hint)) for signature, name, hint in (
    (rb"%PDF-", "a PDF document", "save its page as PNG first"),
    (rb"PK\x03\x04", "a ZIP archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "a 7z or RAR archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", "unpack it, or give it to 'wrn classify'"),
    (rb"PAR1", "a Parquet file", "give it to 'wrn classify' or 'wrn evaluate'"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "data compressed with gzip, bzip2, xz or Zstandard", _UNPACK),
    (rb"\x80[\x02-\x05]", "a Python pickle", _EXPORT),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (rb"ARROW1|\xff\xff\xff\xff..\0\0\x10\0\0\0", "an Arrow file", _EXPORT),
    (rb".{16}\xde\xc0\xef\xbe", "an LMDB database, such as LSUN's", _EXPORT),
    (rb".{4}\0{4}.{4}\n", "a TFRecord file", _EXPORT),
    (rb"II\*\0.{4}CR|.{4}ftypcrx ", "a Canon camera's raw data", DEVELOP),
    (rb"FUJIFILMCCD-RAW", "a Fujifilm camera's raw data", DEVELOP),
    (rb"IIU\0", "a Panasonic camera's raw data", DEVELOP),
    (rb"IIR[OS]|MMOR", "an Olympus camera's raw data", DEVELOP),
    (rb"MM\0\x2b", "a BigTIFF of big-endian numbers", "convert it: gdal_translate IN OUT.tif"),
    (rb"\xff\xd8\xff(\xf7|\xe8\0 SPIFF)", "a JPEG-LS image", CONVERT),
    (rb"II\xbc\x01", "a JPEG XR image", CONVERT),
    (rb"P7\n", "a PAM image", CONVERT),
    (rb"PF\s", "a PFM image of colours in floats", _SCALE),
    (rb"\x76\x2f\x31\x01", "an OpenEXR image", _SCALE),
    (rb"\x93NUMPY", "a NumPy array", _SCALE),
    (rb".{128}DICM", "a DICOM image", _SCALE),
    (rb"....ftyp", "a video", "save a frame as an image first"),
    (rb"8BPS", "a Photoshop document", "export it as PNG first"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the real file with 'git lfs pull'"),
))


def first_bytes(file: Path, count: int = 512) -> bytes:
    """Return the first ``count`` bytes of a regular file; b"" for anything else, and where it cannot be read."""
    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as start:
                return start.read(count)
    return b""


def image_format(data: bytes) -> str | None:
    """Return the name of the image format of ``data``, or None where it is not one that is read."""
    return next((name for name, signature in _IMAGES if signature.match(data)), None)


def no_image(data: bytes) -> NotAnImage:
    """Identify bytes without the signature of an image, for an error message."""
    if not data:
        return NotAnImage("an empty file", _FETCH_AGAIN)
    head = data[:4096].removeprefix(b"\xef\xbb\xbf")
    if (format := _markup(head) or other_format(head)) is not None:
        return format
    if not any(data[:4096]):
        return NotAnImage("nothing but zero bytes", _FETCH_AGAIN)
    if _is_text(head):
        return NotAnImage("text", f"give an image: {READABLE}")
    return NotAnImage("data of an unknown kind", f"give an image: {READABLE}")


def other_format(data: bytes) -> NotAnImage | None:
    """Identify bytes with the signature of another format, or return None."""
    return next((format for signature, format in _OTHERS if signature.match(data)), None)


def _markup(head: bytes) -> NotAnImage | None:
    text = head.lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if any(tag in text for tag in (b"<!doctype html", b"<html", b"<head", b"<body")):
        return NotAnImage("an HTML page", "a download probably saved an error page under the image's name")
    if b"<svg" in text:
        return NotAnImage("an SVG drawing", "a drawing has no pixels: export it as PNG first")
    return None


def _is_text(head: bytes) -> bool:
    try:
        # A character may be cut in two at the end of the head.
        text = head.decode("utf-8", errors="strict" if len(head) < 4000 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
