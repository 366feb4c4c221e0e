"""Images in tar archives, read in place: nothing is extracted.

    000000.jpg, 000000.cls        WebDataset: the class of the files with the same name up to its first dot, a number
    000000.jpg, 000000.json       likewise, as {"label": 17}
    n01440764/x.JPEG              class folders

An archive is indexed by its headers alone. They are not trusted: sizes, counts and offsets are bounded, links are not
followed.
"""

from __future__ import annotations

import json
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from wideresnet.errors import DataError, ImageError, errors_as, os_errors_as
from wideresnet.images.files import NameFilter, image_endings
from wideresnet.records import EncodedImage, Skipped

MAX_FILES = 10_000_000
MAX_HEADER_BYTES, MAX_LABEL_BYTES = 2**20, 2**20   # of one header with its long names; of a .cls or .json
MAX_UNPACKED, MAX_RATIO = 2**29, 32                # of a compressed archive: bytes, and times its own bytes
# The first bytes of compressed files, and tarfile's names. It would try to read a damaged one as an archive itself.
PACKED = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
LABEL_KEYS = ("label", "cls", "class")             # of a .json
RawLabel = int | str | None                        # an index, a name or id, or unknown
ImageRow = tuple[str, EncodedImage, RawLabel]      # path, source and class of an image
Opener = Callable[[str], Any]                      # path or URI -> a seekable binary file


def open_file(path: str) -> BinaryIO:
    """Open a local file; the ``Opener`` of paths."""
    return Path(path).open("rb")


@dataclass(frozen=True)
class TarMember(EncodedImage):
    """A file in the archive ``path``: ``size`` bytes from ``offset``. Size -1: a link or an entry without bytes."""

    path: str
    offset: int
    size: int
    opener: Opener = open_file

    @property
    def fingerprint(self) -> str:
        """The size in bytes."""
        return str(self.size)

    def read(self, limit: int) -> bytes:
        """See ``EncodedImage``."""
        if self.size < 0:
            raise ImageError("not a file of the archive but a link in it", hint="links are not followed: unpack it")
        with os_errors_as(ImageError, "cannot be read"), self.opener(self.path) as file:
            file.seek(self.offset)
            return bytes(file.read(min(self.size, limit + 1)))


class _BoundedReads:
    """A file for ``tarfile`` of ``end`` bytes, of which it may read ``remaining`` before the next member."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.seek, self.tell, self.close, self._read = file.seek, file.tell, file.close, file.read
        self.end, self.remaining = end, 0
        file.seek(0)

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes. Raises ReadError for too many, and for a negative number."""
        self.remaining -= abs(size)
        if size < 0 or self.remaining < 0:
            raise tarfile.ReadError(f"headers of more than {MAX_HEADER_BYTES:,} bytes")
        return self._read(size)


class _BoundedTar(tarfile.TarFile):
    """An archive without larger headers than real ones, whose members lie before ``end``."""

    def __init__(self, name: Any, mode: Any, file: Any, *, end: int) -> None:
        self._reads = _BoundedReads(file, end)
        super().__init__(name, mode, self._reads)  # type: ignore[arg-type]

    def next(self) -> tarfile.TarInfo | None:
        """Return the next member; None at the end. Raises ReadError, RecursionError and ValueError."""
        self._reads.remaining = MAX_HEADER_BYTES
        self.members: list[tarfile.TarInfo] = []   # tarfile would keep all of them
        member = super().next()
        self._reads.remaining = end = self._reads.end        # for the content
        if member and member.isreg() and not member.issparse() and not 0 <= member.size <= end - member.offset_data:
            raise tarfile.ReadError(f"{member.name[:100]!r} lies beyond its end")
        return member


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, compressed or not, for one pass. Raises DataError for a damaged one, also while it is read.

    It may unpack to ``MAX_UNPACKED`` bytes, or ``MAX_RATIO`` times its own.
    """
    damage = (tarfile.TarError, RecursionError, ValueError, EOFError, zlib.error, lzma.LZMAError)
    problem, hint = f"{path} is not a valid tar archive", "it may be cut short; fetch it again"
    with errors_as(damage, DataError, problem, hint), path.open("rb") as file:
        end = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
        mode = next((f"r:{kind}" for first, kind in PACKED.items() if file.peek(6).startswith(first)), "r:*")
        with _BoundedTar.open(fileobj=file, mode=mode, end=end) as archive:  # type: ignore[call-overload]
            yield archive


def tar_members(path: str, opener: Opener = open_file) -> Iterator[tuple[str, TarMember]]:
    """Yield each file and link of an archive with its name, in order. Raises DataError where the archive is damaged."""
    last, count, damage = -1, 0, (tarfile.TarError, RecursionError, ValueError, OSError)
    problem, hint = f"{path} is no complete tar archive", "it may be cut short or compressed: fetch or unpack it"
    with (
        errors_as(damage, DataError, problem, hint), opener(path) as file,
        _BoundedTar(None, "r", file, end=file.seek(0, 2)) as archive,
    ):  # fmt: skip
        while (member := archive.next()) is not None:
            count += 1
            if member.offset <= last or count > MAX_FILES:
                raise tarfile.ReadError(f"{member.name[:100]!r} is one of too many, or not behind the last")
            last = member.offset
            plain = member.isreg() and not member.issparse()
            if not member.isdir():
                name = str(PurePosixPath(member.name.lstrip("/")))
                yield name, TarMember(path, member.offset_data, member.size if plain else -1, opener)
        _check_end(file, archive.offset)


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise ReadError where an archive ends without its mark, or where another one follows it."""
    file.seek(offset)
    tail = file.read(2**20)
    if len(tail) < tarfile.BLOCKSIZE or any(tail):
        raise tarfile.ReadError("its end mark is missing" if len(tail) < tarfile.BLOCKSIZE else "more follows its end")


class TarImages:
    """An iterable of the images in an archive, in order, as ``path``/name and unlabelled. Raises DataError.

    ``skipped`` counts the other files that this iteration has passed so far.
    """

    def __init__(self, path: str, opener: Opener = open_file) -> None:
        self._path, self._opener, self._filter = path, opener, NameFilter()

    def __iter__(self) -> Iterator[ImageRow]:
        self._filter = NameFilter()
        for name, member in tar_members(self._path, self._opener):
            if self._filter.is_visible(name) and self._filter.is_image(name):
                yield f"{self._path}/{name}", member, None

    @property
    def skipped(self) -> Skipped:
        """The files that are not images."""
        return self._filter.skipped


def read_labelled_tar(path: str, opener: Opener = open_file) -> tuple[list[ImageRow], Skipped]:
    """Read the images in an archive with their classes, and count the other files. Raises DataError.

    All classes are None where the archive states none. Where a key has a .cls or .json, its image is ``key.jpg``;
    others such as ``key.mask.png`` are skipped.
    """
    images: list[tuple[str, str, TarMember]] = []
    labels: dict[str, RawLabel] = {}
    name_filter = NameFilter()
    for name, member in tar_members(path, opener):
        if not name_filter.is_visible(name):
            continue
        folder, slash, base = name.rpartition("/")
        stem, dot, ending = base.partition(".")
        key, ending = f"{folder}{slash}{stem}", f"{dot}{ending.lower()}"
        if ending == ".cls":
            labels[key] = _number_or_text(_read_label_file(name, member).decode("utf-8", "replace").strip())
        elif ending == ".json" and member.size <= MAX_LABEL_BYTES:
            if (label := _json_label(f"{path}/{name}", _read_label_file(name, member))) is not None:
                labels.setdefault(key, label)
        elif name_filter.is_image(name):
            images.append((key if ending in image_endings() else "", name, member))
    if labels:
        for _, name, _ in (image for image in images if not image[0]):
            name_filter.reject(name)
        images = [image for image in images if image[0]]
        if unlabelled := [name for key, name, _ in images if key not in labels]:
            raise DataError(
                f"{len(unlabelled):,} of the {len(images):,} images in {path} have no .cls and no label in a .json,"
                f" such as {unlabelled[0]}"
            )
        return [(f"{path}/{name}", member, labels[key]) for key, name, member in images], name_filter.skipped
    folders = _class_folders([name for _, name, _ in images])
    rows = [(f"{path}/{name}", member, folder) for (_, name, member), folder in zip(images, folders, strict=True)]
    return list[ImageRow](rows), name_filter.skipped


def _class_folders(names: list[str]) -> list[str | None]:
    """Return the folder of each file, or None for all where the folders are not all in one folder."""
    parents = [PurePosixPath(name).parent for name in names]
    if len({parent.parent for parent in parents}) != 1 or not all(parent.name for parent in parents):
        return [None] * len(names)
    return [parent.name for parent in parents]


def _read_label_file(name: str, member: TarMember) -> bytes:
    if member.size > MAX_LABEL_BYTES:
        raise DataError(f"{name} in {member.path} has {member.size:,} bytes: too many for a label")
    with errors_as(ImageError, DataError, f"{name} in {member.path} cannot be read"):
        return member.read(MAX_LABEL_BYTES)


def _number_or_text(text: str) -> RawLabel:
    number = text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20
    return int(text) if number and str(int(text)) == text else text[:100] or None      # 007 may be a name


def _json_label(name: str, data: bytes) -> RawLabel:
    """Return the class that a .json states, or None."""
    with errors_as((ValueError, RecursionError), DataError, f"{name} is not valid JSON"):
        fields = json.loads(data)
    values = [fields.get(key) for key in LABEL_KEYS] if isinstance(fields, dict) else []
    return index_or_name(next((value for value in values if value is not None), None))


def index_or_name(label: object) -> RawLabel:
    """Return a label as it is, whole numbers of any type as int; None for one of another type."""
    if isinstance(label, float | Decimal) and label % 1 == 0:
        return int(label)
    return cast("RawLabel", label) if type(label) in (int, str) else None
