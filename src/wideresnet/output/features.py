"""Files of features for any number of images, written row by row: .npy, .npz, or .parquet (extra ``parquet``).

    out.npy             one layer: [N, C] or [N, C, H, W]; rows in the order of out.npy.paths.txt
    out.npz             several layers, each an array under its name; rows in the order of out.npz.paths.txt
    out.parquet         a column "path", and one of lists of C numbers for each layer
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, check_extra, did_you_mean, needs_extra, os_errors_as
from wideresnet.output.atomic import atomic_pair, atomic_path, check_file
from wideresnet.records import Embedding, Failure
from wideresnet.report.escape import cell_text, line_text

SUFFIXES = (".npy", ".npz", ".parquet")
ROW_GROUP = 1024                                   # rows of a Parquet row group
Shape = tuple[int, ...]
AddFeatures = Callable[[Embedding], None]


def features_suffix(file: Path, layers: Sequence[str]) -> str:
    """Return the suffix of ``file``, one of ``SUFFIXES``. Raises ConfigError for others, and for two layers in .npy."""
    if file.suffix not in SUFFIXES:
        hint = did_you_mean(file.suffix, SUFFIXES) or f"name a file that ends with {', '.join(SUFFIXES)}"
        raise ConfigError(f"unknown format of features: {str(file)!r}", hint=hint)
    if file.suffix == ".npy" and len(layers) > 1:
        hint = f"write {file.with_suffix('.npz').name}"
        raise ConfigError(f"a .npy file holds one array, not {len(layers)} layers", hint)
    if file.suffix == ".parquet":
        check_extra("writing Parquet", "parquet", "pyarrow")
    return file.suffix


def write_features(
    file: Path, shapes: Mapping[str, Shape], dtype: str, rows: Iterable[Embedding | Failure]
) -> tuple[int, tuple[Failure, ...]]:
    """Write all rows to ``file`` (see ``open_features``); return their number and the failures."""
    count, failures = 0, []
    with open_features(file, shapes, dtype) as add:
        for row in rows:
            if isinstance(row, Failure):
                failures.append(row)
            else:
                add(row)
                count += 1
    return count, tuple(failures)


@contextmanager
def open_features(file: Path, shapes: Mapping[str, Shape], dtype: str) -> Iterator[AddFeatures]:
    """Yield a function that appends the features of one image; ``shapes`` is the shape of a row by layer.

    ``dtype`` is float32 or float16. ``file`` appears when the block ends and stays as it was when an exception ends
    it. Raises ConfigError for numbers or shapes that the file cannot hold and when the disk refuses, MissingExtra if
    pyarrow is not installed.
    """
    suffix = features_suffix(file, list(shapes))
    check_file(file)
    opened = (_open_parquet if suffix == ".parquet" else _open_arrays)(file, shapes, dtype)
    with os_errors_as(ConfigError, f"cannot write {file}"), opened as add:
        yield add


@contextmanager
def _open_arrays(file: Path, shapes: Mapping[str, Shape], dtype: str) -> Iterator[AddFeatures]:
    """Write each layer as a .npy, and the paths beside them; .npz is put together at the end."""
    paths_file = file.with_name(f"{file.name}.paths.txt")
    with atomic_pair(file, paths_file) as folder, ExitStack() as stack:
        paths, layers = stack.enter_context((folder / paths_file.name).open("wb")), dict[str, _NpyWriter]()
        for name, shape in shapes.items():
            path = folder / (f"{name}.layer" if file.suffix == ".npz" else file.name)
            layers[name] = _NpyWriter(stack.enter_context(path.open("wb")), shape, dtype)

        def add(embedding: Embedding) -> None:
            for name, layer in layers.items():
                layer.add(embedding.values[name])
            paths.write(f"{line_text(embedding.path)}\n".encode())

        yield add
        for layer in layers.values():
            layer.finish()
        if file.suffix == ".npz":
            _zip_layers(folder / file.name, {name: Path(layer.file.name) for name, layer in layers.items()})


def _zip_layers(target: Path, layers: Mapping[str, Path]) -> None:
    """Write all layers as one .npz, not compressed: features hardly shrink. Each .npy is removed once it is copied."""
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in layers.items():
            with path.open("rb") as source, archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member, 2**20)
            path.unlink()


class _NpyWriter:
    """One array that grows by rows of ``shape``; its header gets the number of rows at the end."""

    def __init__(self, file: IO[bytes], shape: Shape, dtype: str) -> None:
        self.file, self._shape, self._dtype, self._count = file, shape, np.dtype(dtype), 0
        self._write_header()

    def add(self, row: NDArray[np.float32]) -> None:
        assert row.shape == self._shape
        self.file.write(_cast(row, self._dtype).tobytes())
        self._count += 1

    def finish(self) -> None:
        self.file.seek(0)
        self._write_header()
        self.file.close()

    def _write_header(self) -> None:
        shape = (self._count, *self._shape)        # numpy leaves room in the header for any number of rows
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self.file, header)


@contextmanager
def _open_parquet(file: Path, shapes: Mapping[str, Shape], dtype: str) -> Iterator[AddFeatures]:
    """Write a column of lists for each layer, in row groups."""
    schema = features_schema(shapes, dtype)
    import pyarrow.parquet as pq

    rows: list[Embedding] = []
    with atomic_path(file) as part, pq.ParquetWriter(part, schema) as writer:

        def add(embedding: Embedding) -> None:
            rows.append(cast_features(embedding, np.dtype(dtype)))
            if len(rows) == ROW_GROUP:
                flush()

        def flush() -> None:
            if rows:
                writer.write_table(features_table(rows, schema))
            rows.clear()

        yield add
        flush()


def features_schema(shapes: Mapping[str, Shape], dtype: str) -> Any:
    """Return Arrow's schema: a path, and a list of C numbers for each layer.

    Raises ConfigError for feature maps [C, H, W], and MissingExtra.
    """
    for name, shape in shapes.items():
        if len(shape) > 1:
            problem = f"a Parquet column holds lists of numbers, not the maps {list(shape)} of {name}"
            raise ConfigError(problem, hint="average them over positions, or write .npy or .npz")
    with needs_extra("writing Parquet", "parquet"):
        import pyarrow as pa
    number = pa.from_numpy_dtype(np.dtype(dtype))
    columns = [(name, pa.list_(number, *shape)) for name, shape in shapes.items()]
    return pa.schema([("path", pa.string()), *columns])


def features_table(rows: Sequence[Embedding], schema: Any) -> Any:
    """Return Arrow's table of features whose numbers have the schema's type already."""
    import pyarrow as pa

    columns = [
        pa.FixedSizeListArray.from_arrays(
            pa.array(np.concatenate([np.empty(0, column.type.value_type.to_pandas_dtype()),
                                     *(row.values[column.name] for row in rows)])), type=column.type
        )
        for column in list(schema)[1:]
    ]
    return pa.table([pa.array([cell_text(row.path) for row in rows], pa.string()), *columns], schema=schema)


def cast_features(embedding: Embedding, dtype: np.dtype[Any]) -> Embedding:
    """Return the features as numbers of ``dtype``. Raises ConfigError if one is too large for it."""
    return Embedding(embedding.path, {name: _cast(value, dtype) for name, value in embedding.values.items()})


def _cast(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        with np.errstate(over="raise"):
            return values.astype(dtype)
    except FloatingPointError as error:
        problem = f"a feature of {np.abs(values).max():.3g} is too large for {dtype}"
        raise ConfigError(problem, hint="write float32") from error
