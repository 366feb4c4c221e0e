"""Labelled images decoded to arrays: into memory, or onto a disk once where the memory is too small for them.

    CACHE/NAME-SIDE-HASH/images.npy    RGB uint8 [N, S, S, 3]: a row for each readable image, in order
    CACHE/NAME-SIDE-HASH/index.json    the preprocessing, the number of images done, and the failures among them
    CACHE/NAME-SIDE-HASH/lock          held by the process that decodes

The hash covers everything that decides the pixels, so that a store is never stale: other images or another
preprocessing have another folder. Only the rows that the index counts are valid. They are flushed before the index is
replaced; after a kill the file is cut behind the last counted row and decoding continues there. One of several
processes holds the lock and decodes, the others wait. Rows are written to the file and not through a memory map, where
a full disk would kill the process (SIGBUS); the map is for reading.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import mmap
import os
import shutil
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError, ImageError
from wideresnet.images.decode import DEFAULT_LIMITS, read_regular
from wideresnet.images.loader import load_batches
from wideresnet.machine import memory_mb
from wideresnet.output.atomic import save_text
from wideresnet.output.lock import try_lock
from wideresnet.records import Batch, EncodedImage, Failure, Preprocess, Progress

FORMAT = 1                                         # of the files; part of the hash
BATCH = 64                                         # images decoded at a time
FLUSH_INTERVAL = 1024                              # images, about the most that are decoded again after a kill
SAMPLES = 16                                       # files whose bytes are in the hash
FailuresByIndex = Mapping[int, Failure]            # index among all images

_DISK_FULL = "make room and run the same command again: images that are decoded already are kept"
_HINTS = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.ENOMEM: "with vm.overcommit_memory=2 Linux counts mapped files as memory; with 0 it does not",
}


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The readable images, RGB uint8 [N, S, S, 3], their labels, int64 [N], and the failures."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, eq=False)
class DecodedStore:
    """The folder of the images of ``data`` after the preprocessing ``spec``, decoded or still to be decoded."""

    folder: Path
    data: LabelledData
    spec: Preprocess

    @property
    def images(self) -> Path:
        """The file of the pixels."""
        return self.folder / "images.npy"

    @property
    def index(self) -> Path:
        """The file with the number of valid rows."""
        return self.folder / "index.json"

    def shape(self, rows: int) -> tuple[int, int, int, int]:
        """Return the shape of the array of ``rows`` images."""
        return rows, self.spec.crop, self.spec.crop, 3

    def header(self, rows: int) -> bytes:
        """Return the header of ``images``, padded by numpy to the same length for any number of rows."""
        file = io.BytesIO()
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self.shape(rows)})
        return file.getvalue()

    def size(self, rows: int) -> int:
        """Return the size of ``images`` in bytes with ``rows`` images."""
        return len(self.header(rows)) + rows * self.spec.crop**2 * 3


def decode_into_memory(data: LabelledData, spec: Preprocess, threads: int) -> Generator[Progress, None, DecodedImages]:
    """Decode all of ``data``.

    Raises DataError where it is too large for the memory, and where no image can be read.
    """
    needed, available = len(data.items) * spec.crop**2 * 3 // 2**20, memory_mb()
    if available is not None and needed > available:
        problem = f"{len(data.items):,} images of {spec.crop} pixels take {needed:,} MB, this machine has {available:,}"
        raise DataError(problem, hint="keep them on a disk with --cache DIR, or use fewer, or a smaller 'stored'")
    images = np.empty((len(data.items), spec.crop, spec.crop, 3), np.uint8)
    rows, failed = 0, dict[int, Failure]()
    for batch in load_batches(data.items, spec, batch_size=BATCH, threads=threads, exif=data.exif):
        failed |= _failures_of(batch, rows + len(failed))
        images[rows : rows + len(batch.items)] = batch.pixels
        rows += len(batch.items)
        yield _progress(data, rows + len(failed))
    return _with_labels(data, images[:rows], failed)


def open_store(cache: Path, name: str, data: LabelledData, spec: Preprocess) -> DecodedStore:
    """Return the store in ``cache`` of exactly these files, their sizes and times, and this preprocessing.

    The folder around the files is not part of the hash, and neither are mean and deviation: they are not in the pixels.
    """
    settings = FORMAT, spec.resize, spec.crop, spec.interpolation, spec.mode, data.exif
    digest = hashlib.sha256(repr(settings if spec.alpha == "drop" else (*settings, spec.alpha)).encode())
    paths = [item.path for item in data.items]
    ends = min(paths), max(paths)
    start = len(os.path.commonpath(ends)) if len(set(map(os.path.isabs, ends))) == 1 else 0
    # Other images may have the same names, sizes and times, as those out of archives do: some bytes differ.
    samples = range(0, len(data.items), 1 + len(data.items) // SAMPLES)
    for index, item in enumerate(data.items):
        digest.update(f"{item.path[start:]}\t".encode("utf-8", "surrogateescape"))
        try:
            if isinstance(item.source, EncodedImage):
                stamp, read = item.source.fingerprint, partial(item.source.read, DEFAULT_LIMITS.bytes)
            else:
                assert isinstance(item.source, Path), "images of folders are files"
                status = item.source.stat()
                stamp, read = f"{status.st_size}\t{status.st_mtime_ns}", partial(read_regular, item.source)
            digest.update(f"{stamp}\n".encode())
            if index in samples:
                digest.update(hashlib.sha256(read()).digest())
        except (OSError, ImageError):              # reported by the decoding
            digest.update(b"-\n")
    return DecodedStore(cache / f"{name[:100]}-{spec.crop}-{digest.hexdigest()[:16]}", data, spec)


def check_disk_space(cache: Path, stores: Sequence[DecodedStore]) -> None:
    """Raise DataError where the disk of ``cache`` has no room for the images of ``stores`` not decoded yet."""
    with _as_data_error(cache):
        cache.mkdir(parents=True, exist_ok=True)
        free, missing = shutil.disk_usage(cache).free, sum(map(_missing_bytes, stores))
    if missing > free:
        needed = f"{sum(len(store.data.items) for store in stores):,} images take {missing // 2**20:,} MB more"
        hint = "name a folder on another disk, or use fewer images, or a smaller 'stored'"
        raise DataError(f"{needed} in {cache}, {free // 2**20:,} are free there", hint)


def decode_onto_disk(store: DecodedStore, threads: int) -> Generator[Progress, None, DecodedImages]:
    """Decode the images of ``store`` that are not decoded yet, and map all of them from its file.

    Of several processes of a machine one decodes and the others wait for it (not on Windows). After a kill decoding
    continues where the file was last flushed. Writing to the array changes no file. Raises DataError for a disk error,
    a damaged store, and where no image can be read; ConfigError where the index cannot be written.
    """
    with _as_data_error(store.folder):
        done, failed = _read_index(store)
        if done < len(store.data.items):
            store.folder.mkdir(parents=True, exist_ok=True)
            with (store.folder / "lock").open("wb") as lock:
                while not try_lock(lock):
                    yield Progress(f"waiting for another process that reads {store.data.name}", 0, 0)
                    time.sleep(0.2)
                yield from _decode_rest(store, threads)
            _, failed = _read_index(store)
        return _with_labels(store.data, _map_images(store, len(store.data.items) - len(failed)), failed)


def _decode_rest(store: DecodedStore, threads: int) -> Iterator[Progress]:
    done, failures = _read_index(store)            # again: another process may have decoded while this one waited
    failed, flushed = dict(failures), done
    if done == len(store.data.items):
        return
    store.images.touch()
    with store.images.open("r+b") as file:
        file.write(store.header(0))
        file.seek(store.size(done - len(failed)))
        file.truncate()                            # rows after the last flush may be incomplete
        items, exif = store.data.items[done:], store.data.exif
        for batch in load_batches(items, store.spec, batch_size=BATCH, threads=threads, exif=exif):
            file.write(batch.pixels.tobytes())
            failed |= _failures_of(batch, done)
            done += len(batch.items) + len(batch.failures)
            if done - flushed >= FLUSH_INTERVAL and done < len(store.data.items):
                _flush(store, file, done, failed)
                flushed = done
            yield _progress(store.data, done)
        file.seek(0)
        file.write(store.header(done - len(failed)))
        _flush(store, file, done, failed)


def _flush(store: DecodedStore, file: IO[bytes], done: int, failed: FailuresByIndex) -> None:
    """Write the rows of ``done`` images to the disk, then the index that counts them."""
    file.flush()
    os.fsync(file.fileno())
    content = {
        "format": FORMAT,
        "preprocess": asdict(store.spec),
        "pictures": len(store.data.items),
        "done": done,
        "failures": [{"place": index, **asdict(failure)} for index, failure in failed.items()],
    }
    save_text(store.index, json.dumps(content, indent=1) + "\n")


def _read_index(store: DecodedStore) -> tuple[int, FailuresByIndex]:
    """Return how many images are done, and which of them failed. Raises DataError for damaged files."""
    try:
        content = json.loads(store.index.read_text("utf-8"))
        done = int(content["done"])
        failed = {
            int(entry["place"]): Failure(store.data.items[entry["place"]].path, entry["error"], entry["hint"])
            for entry in content["failures"]
        }
    except FileNotFoundError:
        return 0, {}
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged_error(store) from error
    if not store.images.exists() or store.images.stat().st_size < store.size(done - len(failed)):
        raise _damaged_error(store)
    return done, failed


def _damaged_error(store: DecodedStore) -> DataError:
    return DataError(f"{store.folder} is damaged", hint="delete it; its images are decoded again")


def _missing_bytes(store: DecodedStore) -> int:
    """Return the number of bytes still to be written."""
    total = len(store.data.items)
    if _read_index(store)[0] == total:
        return 0
    written = store.images.stat().st_size if store.images.exists() else 0
    return max(0, store.size(total) - written)


def _map_images(store: DecodedStore, rows: int) -> NDArray[np.uint8]:
    """Map the file as an array. It is writeable, which torch requires; writing does not change the file."""
    with store.images.open("rb") as file:
        if sys.platform == "linux":
            # For numpy's own copy-on-write map (mode "c") Linux reserves memory for every page and refuses files that
            # are larger than its memory. Python has a name for the flag from 3.13 on.
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
            mapping = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        else:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.ndarray(store.shape(rows), np.uint8, mapping, len(store.header(rows)))


def _failures_of(batch: Batch, start: int) -> dict[int, Failure]:
    """Return the failures of a batch, whose first image has the index ``start``, by index among all images."""
    return {start + index: failure for index, failure in zip(batch.failed, batch.failures, strict=True)}


def _progress(data: LabelledData, done: int) -> Progress:
    return Progress(f"reading {data.name}", done, len(data.items))


def _with_labels(data: LabelledData, images: NDArray[np.uint8], failed: FailuresByIndex) -> DecodedImages:
    """Add the labels of the readable images. Raises DataError where there are none."""
    failures = tuple(failed.values())
    if not len(images):
        raise DataError(f"none of the {len(failures)} images of {data.name} can be read", hint=failures[0].error)
    labels = [item.label for index, item in enumerate(data.items) if index not in failed]
    return DecodedImages(images, np.array(labels, np.int64), failures)


@contextmanager
def _as_data_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "name another folder with --cache")
        raise DataError(f"cannot store decoded images in {folder}: {error.strerror or error}", hint) from error
