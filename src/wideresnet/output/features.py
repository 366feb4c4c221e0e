"""Features as files that grow, for any number of images: .npy, .npz, or .parquet (extra ``parquet``).

    out.npy             one layer: [N, C] or [N, C, H, W]; row by row in the order of out.npy.paths.txt
    out.npz             several layers, each an array under its name; the order of out.npz.paths.txt
    out.parquet         a column "path", and for each layer one of lists of C numbers

Written beside their names as ``*.part`` and put in place when they are whole.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, did_you_mean, needs_extra
from wideresnet.output.atomic import check_file
from wideresnet.records import Embedding
from wideresnet.report.escape import cell_text, line_text

KINDS = (".npy", ".npz", ".parquet")
ROWS = 1024                                        # of a Parquet row group
Shape = tuple[int, ...]


class Rows(Protocol):
    """A file of features that is being written; ``count`` rows so far."""

    count: int

    def add(self, embedding: Embedding) -> None:
        """One more row. Raises ConfigError where its numbers are too large for the type."""
        ...

    def finish(self) -> None:
        """Put the file in its place."""
        ...

    def discard(self) -> None:
        """Leave nothing behind of what was not finished."""
        ...


def kind_of(file: Path, layers: Sequence[str]) -> str:
    """Which of ``KINDS`` a file is to be. Raises ConfigError for none, and where it cannot hold these layers."""
    if file.suffix not in KINDS:
        hint = did_you_mean(file.suffix, KINDS) or f"name a file that ends with {', '.join(KINDS)}"
        raise ConfigError(f"no kind of file for features: {str(file)!r}", hint=hint)
    if file.suffix == ".npy" and len(layers) > 1:
        raise ConfigError(
            f"a .npy file holds one array, not {len(layers)} layers", hint=f"write {file.with_suffix('.npz').name}"
        )
    return file.suffix


@contextmanager
def open_rows(file: Path, shapes: Mapping[str, Shape], dtype: str) -> Iterator[Rows]:
    """A file for rows of ``shapes``, by layer; ``dtype`` is float32 or float16.

    In place when the block ends, gone when an exception ends it. Raises ConfigError for what the file cannot hold
    and when the disk refuses, MissingExtra where Parquet is not installed.
    """
    kind = kind_of(file, list(shapes))
    check_file(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        rows: Rows = _Parquet(file, shapes, dtype) if kind == ".parquet" else _Arrays(file, shapes, dtype)
        try:
            yield rows
            rows.finish()
        finally:
            rows.discard()
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error


class _Arrays:
    """Layers that each grow as a .npy of their own, and become one file at the end; the paths beside it."""

    def __init__(self, file: Path, shapes: Mapping[str, Shape], dtype: str) -> None:
        self._file, self.count = file, 0
        self._paths = file.with_name(f"{file.name}.paths.txt")
        self._list = _part(self._paths).open("wb")
        zipped = file.suffix == ".npz"
        self._layers = {
            name: _Npy(_part(file, name if zipped else ""), shape, dtype) for name, shape in shapes.items()
        }

    def add(self, embedding: Embedding) -> None:
        for name, layer in self._layers.items():
            layer.add(embedding.values[name])
        self._list.write(f"{line_text(embedding.path)}\n".encode())
        self.count += 1

    def finish(self) -> None:
        for layer in self._layers.values():
            layer.finish(self.count)
        _sync(self._list)
        whole = next(iter(self._layers.values())).path
        if self._file.suffix == ".npz":
            whole = self._zipped()
        _part(self._paths).replace(self._paths)
        whole.replace(self._file)

    def discard(self) -> None:
        self._list.close()
        for layer in self._layers.values():
            layer.file.close()
        for path in (_part(self._file), _part(self._paths), *(each.path for each in self._layers.values())):
            with suppress(FileNotFoundError):
                path.unlink()

    def _zipped(self) -> Path:
        """All layers as one .npz, not compressed: features hardly shrink."""
        whole = _part(self._file)
        with whole.open("wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, layer in self._layers.items():
                    with layer.path.open("rb") as source, archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target, 2**20)
                    layer.path.unlink()
            _sync(file)
        return whole


class _Npy:
    """One array that grows by rows of ``shape``; its number of rows is set at the end."""

    def __init__(self, path: Path, shape: Shape, dtype: str) -> None:
        self.path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        self.file = path.open("wb")
        self._begin(0)

    def add(self, row: NDArray[np.float32]) -> None:
        assert row.shape == self._shape
        self.file.write(_narrowed(row, self._dtype).tobytes())

    def finish(self, count: int) -> None:
        self.file.seek(0)
        self._begin(count)
        _sync(self.file)
        self.file.close()

    def _begin(self, count: int) -> None:
        """The header; numpy leaves room in it for any number of rows."""
        head = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (count, *self._shape)}
        npy.write_array_header_1_0(self.file, head)


class _Parquet:
    """Groups of rows in a Parquet file, a column of lists for each layer."""

    def __init__(self, file: Path, shapes: Mapping[str, Shape], dtype: str) -> None:
        self._schema = features_schema(shapes, dtype)
        import pyarrow.parquet as pq

        self._file, self._dtype, self.count = file, np.dtype(dtype), 0
        self._writer = pq.ParquetWriter(_part(file), self._schema)
        self._rows: list[Embedding] = []

    def add(self, embedding: Embedding) -> None:
        self._rows.append(narrowed(embedding, self._dtype))
        self.count += 1
        if len(self._rows) == ROWS:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()
        with _part(self._file).open("rb") as file:
            os.fsync(file.fileno())
        _part(self._file).replace(self._file)

    def discard(self) -> None:
        self._writer.close()
        with suppress(FileNotFoundError):
            _part(self._file).unlink()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(features_table(self._rows, self._schema))
        self._rows = []


def features_schema(shapes: Mapping[str, Shape], dtype: str) -> Any:
    """Arrow's schema: a path, and a list of C numbers for each layer. Raises ConfigError for maps, and MissingExtra."""
    for name, shape in shapes.items():
        if len(shape) > 1:
            raise ConfigError(
                f"a Parquet column holds lists of numbers, not the maps {list(shape)} of {name}",
                hint="average them over positions, or write .npy or .npz",
            )
    with needs_extra("writing Parquet", "parquet"):
        import pyarrow as pa
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    columns = [(name, pa.list_(kind, *shape)) for name, shape in shapes.items()]
    return pa.schema([("path", pa.string()), *columns])


def features_table(rows: Sequence[Embedding], schema: Any) -> Any:
    """Arrow's table of features whose numbers have the schema's type already."""
    import pyarrow as pa

    columns = [
        pa.FixedSizeListArray.from_arrays(
            pa.array(np.concatenate([np.empty(0, column.type.value_type.to_pandas_dtype()),
                                     *(row.values[column.name] for row in rows)])), type=column.type
        )
        for column in list(schema)[1:]
    ]
    return pa.table([pa.array([cell_text(row.path) for row in rows], pa.string()), *columns], schema=schema)


def _part(file: Path, layer: str = "") -> Path:
    """Where ``file``, or one layer of it, is written until it is whole."""
    return file.with_name(f"{file.name}{f'.{layer}' if layer else ''}.part")


def narrowed(embedding: Embedding, dtype: np.dtype[Any]) -> Embedding:
    """The same as numbers of ``dtype``. Raises ConfigError where one is too large for it."""
    return Embedding(embedding.path, {name: _narrowed(value, dtype) for name, value in embedding.values.items()})


def _narrowed(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        with np.errstate(over="raise"):
            return values.astype(dtype)
    except FloatingPointError as error:
        raise ConfigError(
            f"a feature of {np.abs(values).max():.3g} is too large for {dtype}", hint="write float32"
        ) from error


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
