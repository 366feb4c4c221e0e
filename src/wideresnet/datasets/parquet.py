"""Parquet files of images as on hubs: one row an image, its bytes in a column, its class in another.

They are read one row group at a time, so that memory does not grow with the number of rows.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

from wideresnet.datasets.tar import ImageRow, Opener, RawLabel, open_file
from wideresnet.errors import DataError, ImageError, errors_as, needs_extra
from wideresnet.records import EncodedImage

IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp")
PATHS = ("path", "file_name", "filename", "__key__")
LABELS = ("label", "fine_label", "cls", "labels", "class", "target")
CACHED_GROUPS = 2                                  # row groups whose images are in memory
Stamp = tuple[int, int] | None                     # size and modification time of a local file
_lock = threading.Lock()


@dataclass
class ParquetImages:
    """An open Parquet file of images. ``source``, ``path``, ``label`` are columns, the last two "" where missing."""

    name: str                                      # the file, by path or URI
    file: Any                                      # pyarrow.parquet.ParquetFile
    source: str
    path: str
    label: str

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes by index, where the file's schema lists them."""
        try:
            features = json.loads(self.file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
            return tuple(map(str, features[self.label]["names"]))
        except (KeyError, TypeError, ValueError):
            return ()

    @cached_property
    def starts(self) -> list[int]:
        """The first row of each row group, and the number of all rows."""
        groups = range(self.file.num_row_groups)
        return list(accumulate((self.file.metadata.row_group(group).num_rows for group in groups), initial=0))

    @cached_property
    def _repeated(self) -> bool:
        """Return True if two rows have the same path, so that paths do not identify rows."""
        import pyarrow.compute as pc

        names = self._table(range(len(self.starts) - 1), self.path).column(self.path)
        return bool(pc.count_distinct(names).as_py() < len(names) - names.null_count)

    def rows(self, group: int) -> list[tuple[str, RawLabel]]:
        """Return path and class of each row of a group; ``file#row`` without a unique path. Raises DataError."""
        first, end = self.starts[group : group + 2]
        table = self._table([group], self.path, self.label)
        paths = table.column(self.path).to_pylist() if self.path else [None] * (end - first)
        labels = table.column(self.label).to_pylist() if self.label else [None] * (end - first)
        return [(self._name(first + row, path), labels[row]) for row, path in enumerate(paths)]

    def images(self, group: int) -> Any:
        """Return the encoded images of a group as a pyarrow array. Raises DataError."""
        return self._table([group], self.source).column(self.source)

    def _name(self, row: int, path: str | None) -> str:
        if path and not self._repeated:
            return path
        return f"{self.name}#{row}/{path}" if path else f"{self.name}#{row}"

    def _table(self, groups: Sequence[int], *columns: str) -> Any:
        pyarrow_errors = (OSError, ValueError, RuntimeError)           # their base classes
        with errors_as(pyarrow_errors, DataError, f"{self.name} is damaged", hint="fetch it again"):
            table = self.file.read_row_groups(list(groups), columns=list(filter(None, columns))).flatten()
            table.validate(full=True)              # offsets and UTF-8, before anything is read by them
            return table


def _find_columns(file: Any, name: str) -> ParquetImages:
    leaves = {column.path: column for column in (file.schema.column(index) for index in range(len(file.schema)))}
    texts = {path for path, leaf in leaves.items() if leaf.logical_type.type == "STRING"}
    binary = {path for path, leaf in leaves.items() if leaf.physical_type == "BYTE_ARRAY"} - texts
    numbers = {path for path, leaf in leaves.items() if leaf.physical_type in ("INT32", "INT64")}
    for source in ("bytes", *(f"{image}.bytes" for image in IMAGES), *IMAGES):
        if source in binary:
            prefix = source.removesuffix("bytes") if "." in source else ""
            path = next((prefix + path for path in PATHS if prefix + path in texts), "")
            label = next((label for names in (texts | numbers, leaves) for label in LABELS if label in names), "")
            return ParquetImages(name, file, source, path, label)
    raise DataError(
        f"{name} has no column of images; its columns are {', '.join(leaves)}",
        hint="expected encoded images (JPEG, PNG, …) in a column 'bytes' or 'image', or in a struct 'image' of 'bytes'"
        " and 'path'; and their classes in a column 'label'",
    )


@dataclass(frozen=True)
class ParquetRow(EncodedImage):
    """An image of a Parquet file: row ``index`` of its row group."""

    path: str
    group: int
    index: int
    opener: Opener = open_file

    @property
    def fingerprint(self) -> str:
        """The size of the row group, in bytes."""
        return str(open_parquet(self.path, self.opener).file.metadata.row_group(self.group).total_byte_size)

    def read(self, limit: int) -> bytes:
        """See ``EncodedImage``."""
        with errors_as((DataError, LookupError), ImageError, "cannot be read", hint=""):
            with _lock:                            # one thread reads a row group, the others wait for it
                images = _read_group(self.path, self.group, self.opener, _stamp(self.path, self.opener))
            return images[self.index].as_py() or b""


def import_pyarrow() -> tuple[Any, Any]:
    """Import pyarrow and its module for Parquet. Raises MissingExtra."""
    with needs_extra("reading Parquet", "parquet"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet


def open_parquet(path: str, opener: Opener = open_file) -> ParquetImages:
    """Open a Parquet file of images and find its columns. Raises DataError for any other file, and MissingExtra."""
    return _open_cached(path, opener, _stamp(path, opener))


def _stamp(path: str, opener: Opener) -> Stamp:
    """Return a value that changes when a local file is replaced."""
    try:
        status = os.stat(path)
        return (status.st_size, status.st_mtime_ns) if opener is open_file else None
    except OSError:
        return None


@lru_cache(maxsize=4)
def _open_cached(path: str, opener: Opener, _: Stamp) -> ParquetImages:
    pa, pq = import_pyarrow()
    try:
        # A Python file would have to be closed; pyarrow's own is closed when it is collected.
        return _find_columns(pq.ParquetFile(path if opener is open_file else opener(path)), path)
    except FileNotFoundError as error:
        raise DataError(f"no such file or directory: {path!r}", hint="check the spelling and the folder") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error


@lru_cache(maxsize=CACHED_GROUPS)
def _read_group(path: str, group: int, opener: Opener, stamp: Stamp) -> Any:
    return _open_cached(path, opener, stamp).images(group)


def parquet_rows(path: str, opener: Opener = open_file, *, prefixed: bool = False) -> Iterator[ImageRow]:
    """Yield each image of a Parquet file with its class, in order; ``prefixed``: as ``path``/name.

    Raises DataError and MissingExtra.
    """
    opened = open_parquet(path, opener)
    for group in range(opened.file.num_row_groups):
        for index, (name, label) in enumerate(opened.rows(group)):
            prefix = f"{path}/" if prefixed and not name.startswith(f"{path}#") else ""
            yield prefix + name, ParquetRow(path, group, index, opener), label
