"""Images in tar archives, read where they lie: nothing is extracted.

    000000.jpg, 000000.cls        WebDataset: the class of the files with the same name up to its first dot, a number
    000000.jpg, 000000.json       likewise, as {"label": 17}
    n01440764/x.JPEG              class folders

An archive is indexed by its headers alone. They are a stranger's: sizes, counts and offsets are bounded, links are not
followed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from wideresnet.errors import DataError, ImageError
from wideresnet.images.files import NameFilter, image_endings
from wideresnet.records import EncodedImage, Skipped

MAX_FILES = 10_000_000
MAX_HEADER_BYTES = 2**20                           # of one header with its long names
MAX_LABEL_BYTES = 2**20                            # of a .cls or .json
LABEL_KEYS = ("label", "cls", "class")             # of a .json
Label = int | str | None                           # an index, a name or id, or not known
Row = tuple[str, EncodedImage, Label]              # an image: path, where it lies, its class
Opener = Callable[[str], Any]                      # path or URI -> a file to read parts of


def open_file(path: str) -> BinaryIO:
    """Open a local file to read parts of it."""
    return Path(path).open("rb")


@dataclass(frozen=True)
class TarMember(EncodedImage):
    """``size`` bytes of the archive ``path`` from ``offset`` on; size -1: a link, or something else without bytes."""

    path: str
    offset: int
    size: int
    opener: Opener = open_file

    @property
    def fingerprint(self) -> str:
        """Its size in bytes."""
        return str(self.size)

    def read(self, limit: int) -> bytes:
        """See ``EncodedImage``."""
        if self.size < 0:
            raise ImageError("not a file of the archive but a link in it", hint="links are not followed: unpack it")
        try:
            with self.opener(self.path) as file:
                file.seek(self.offset)
                return bytes(file.read(min(self.size, limit + 1)))
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error


class _BoundedReads:
    """A file for ``tarfile`` that refuses what no header has need of: it reads nothing else here."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes. Raises ReadError for too many, and for a negative number."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._read(size)


def tar_members(path: str, opener: Opener = open_file) -> Iterator[tuple[str, TarMember]]:
    """Every file and link in an archive, by name, in its order. Raises DataError where it breaks."""
    last, count = -1, 0
    try:
        with opener(path) as file:
            end = file.seek(0, 2)
            file.seek(0)
            with tarfile.open(fileobj=_BoundedReads(file), mode="r:") as archive:  # type: ignore[call-overload]
                while (member := archive.next()) is not None:
                    archive.members = []           # or it would keep them all
                    count += 1
                    plain = member.isreg() and not member.issparse()
                    beyond = plain and not 0 <= member.size <= end - member.offset_data
                    if member.offset <= last or beyond or count > MAX_FILES:
                        raise tarfile.ReadError(f"{member.name[:100]!r} lies beyond its end, or is one of too many")
                    last = member.offset
                    if not member.isdir():
                        name = str(PurePosixPath(member.name.lstrip("/")))
                        yield name, TarMember(path, member.offset_data, member.size if plain else -1, opener)
                _check_end(file, archive.offset)
    except (tarfile.TarError, RecursionError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is no complete tar archive: {error}", hint="it may be cut short or compressed: fetch or unpack it"
        ) from error


def _check_end(file: BinaryIO, offset: int) -> None:
    """Raise ReadError where an archive ends without its mark, or where another one follows it."""
    file.seek(offset)
    tail = file.read(2**20)
    if len(tail) < tarfile.BLOCKSIZE or any(tail):
        raise tarfile.ReadError("its end mark is missing" if len(tail) < tarfile.BLOCKSIZE else "more follows its end")


def tar_images(path: str, opener: Opener = open_file, passed: list[Skipped] | None = None) -> Iterator[Row]:
    """Every image in an archive, as ``path``/name, in its order; unlabelled. Raises DataError.

    What else the archive holds is added to ``passed`` at its end.
    """
    chosen = NameFilter()
    for name, member in tar_members(path, opener):
        if chosen.is_visible(name) and chosen.is_image(name):
            yield f"{path}/{name}", member, None
    if passed is not None:
        passed.append(chosen.skipped)


def labelled_tar(path: str, opener: Opener = open_file, passed: list[Skipped] | None = None) -> list[Row]:
    """Every image in an archive with its class; None for all where the archive does not say classes. Raises DataError.

    Of a key with .cls or .json only the file counts that is called ``key.jpg``, not ``key.mask.png``. What is neither
    such an image nor its class is added to ``passed``.
    """
    images: list[tuple[str, str, TarMember]] = []
    labels: dict[str, Label] = {}
    chosen = NameFilter()
    for name, member in tar_members(path, opener):
        if not chosen.is_visible(name):
            continue
        folder, slash, base = name.rpartition("/")
        stem, dot, ending = base.partition(".")
        key, ending = f"{folder}{slash}{stem}", f"{dot}{ending.lower()}"
        if ending == ".cls":
            labels[key] = _number_or_text(_small(name, member).decode("utf-8", "replace").strip())
        elif ending == ".json" and member.size <= MAX_LABEL_BYTES:
            if (label := _json_label(f"{path}/{name}", _small(name, member))) is not None:
                labels.setdefault(key, label)
        elif chosen.is_image(name):
            images.append((key if ending in image_endings() else "", name, member))
    if labels:
        for _, name, _ in (image for image in images if not image[0]):
            chosen.reject(name)
        images = [image for image in images if image[0]]
    if passed is not None:
        passed.append(chosen.skipped)
    if labels:
        bare = [name for key, name, _ in images if key not in labels]
        if bare:
            raise DataError(
                f"{len(bare):,} of the {len(images):,} images in {path} have no .cls and no label in a .json, such as"
                f" {bare[0]}"
            )
        return [(f"{path}/{name}", member, labels[key]) for key, name, member in images]
    folders = _class_folders([name for _, name, _ in images])
    return [(f"{path}/{name}", member, folder) for (_, name, member), folder in zip(images, folders, strict=True)]


def _class_folders(names: list[str]) -> list[str | None]:
    """The folder of each file, where all lie in folders of one folder."""
    parents = [PurePosixPath(name).parent for name in names]
    if len({parent.parent for parent in parents}) != 1 or not all(parent.name for parent in parents):
        return [None] * len(names)
    return [parent.name for parent in parents]


def _small(name: str, member: TarMember) -> bytes:
    if member.size > MAX_LABEL_BYTES:
        raise DataError(f"{name} in {member.path} has {member.size:,} bytes: too many for a label")
    try:
        return member.read(MAX_LABEL_BYTES)
    except ImageError as error:
        raise DataError(f"{name} in {member.path} cannot be read: {error.message}", error.hint) from error


def _number_or_text(text: str) -> Label:
    number = text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20
    return int(text) if number else text[:100] or None


def _json_label(name: str, data: bytes) -> Label:
    """The class that a .json says, or None."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no JSON: {error}") from error
    label = next((fields[key] for key in LABEL_KEYS if key in fields), None) if isinstance(fields, dict) else None
    return label if type(label) in (int, str) else None
