"""Labelled images as arrays, decoded into memory, or once onto a disk where the memory is too small for them.

    CACHE/NAME-SIDE-HASH/images.npy    RGB uint8 [N, S, S, 3]: a row for each image that could be read, in order
    CACHE/NAME-SIDE-HASH/index.json    through which preprocess, how many images count, and which cannot be read
    CACHE/NAME-SIDE-HASH/lock          held by the process that decodes

The hash is of what decides the pixels. Rows are written to the file and not through a memory map, by which a full disk
would kill the process (SIGBUS); the map is for reading.
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
from wideresnet.records import Batch, EncodedImage, Failure, Preprocess, Progress

if sys.platform != "win32":
    import fcntl

FORMAT = 1                                         # another one makes other folders
BATCH = 64
FLUSHED = 1024                                     # about so many images are decoded again after a kill
SAMPLED = 16                                       # files whose bytes are in the hash
Failed = Mapping[int, Failure]                     # by place among all images

_ROOM = "make room: the same command goes on with what is decoded already"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOMEM: "with vm.overcommit_memory=2 Linux counts mapped files as memory; with 0 it does not",
}


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """What could be read, images RGB uint8 [N, S, S, 3] and labels int64 [N], and what could not."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, eq=False)
class Store:
    """Where the images of ``data`` are kept, or will be, as ``spec`` shows them."""

    folder: Path
    data: LabelledData
    spec: Preprocess

    @property
    def images(self) -> Path:
        """The file of the pixels."""
        return self.folder / "images.npy"

    @property
    def index(self) -> Path:
        """The file that says what counts of them."""
        return self.folder / "index.json"

    def shape(self, rows: int) -> tuple[int, int, int, int]:
        """Of the array with so many images."""
        return rows, self.spec.crop, self.spec.crop, 3

    def header(self, rows: int) -> bytes:
        """What ``images`` begins with: as long for any number of rows, numpy leaves room in it."""
        file = io.BytesIO()
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": self.shape(rows)})
        return file.getvalue()

    def size(self, rows: int) -> int:
        """Bytes of ``images`` with so many images."""
        return len(self.header(rows)) + rows * self.spec.crop**2 * 3


def decode_into_memory(data: LabelledData, spec: Preprocess, threads: int) -> Generator[Progress, None, DecodedImages]:
    """All of ``data``.

    Raises DataError when it is too large for the memory, and where nothing can be read.
    """
    needed, there = len(data.items) * spec.crop**2 * 3 // 2**20, memory_mb()
    if there is not None and needed > there:
        raise DataError(
            f"{len(data.items):,} images of {spec.crop} pixels take {needed:,} MB, this machine has {there:,}",
            hint="keep them on a disk with --cache DIR, or use fewer, or a smaller 'stored'",
        )
    images = np.empty((len(data.items), spec.crop, spec.crop, 3), np.uint8)
    rows, failed = 0, dict[int, Failure]()
    for batch in load_batches(data.items, spec, batch_size=BATCH, threads=threads, exif=data.exif):
        failed |= _failed(batch, rows + len(failed))
        images[rows : rows + len(batch.items)] = batch.pixels
        rows += len(batch.items)
        yield _doing(data, rows + len(failed))
    return _decoded(data, images[:rows], failed)


def open_store(cache: Path, name: str, data: LabelledData, spec: Preprocess) -> Store:
    """The store in ``cache`` of exactly these files, their sizes and times, and this preprocess.

    Where the files lie together does not matter, and neither do mean and deviation: they are not in the pixels.
    """
    decisive = FORMAT, spec.resize, spec.crop, spec.interpolation, spec.mode, data.exif
    digest = hashlib.sha256(repr(decisive if spec.alpha == "drop" else (*decisive, spec.alpha)).encode())
    paths = [item.path for item in data.items]
    ends = min(paths), max(paths)
    start = len(os.path.commonpath(ends)) if len(set(map(os.path.isabs, ends))) == 1 else 0
    # Names, sizes and times of other images may be the same, as those out of archives are: some bytes tell.
    sampled = range(0, len(data.items), 1 + len(data.items) // SAMPLED)
    for place, item in enumerate(data.items):
        digest.update(f"{item.path[start:]}\t".encode("utf-8", "surrogateescape"))
        try:
            if isinstance(item.source, EncodedImage):
                stamp, read = item.source.fingerprint, partial(item.source.read, DEFAULT_LIMITS.bytes)
            else:
                assert isinstance(item.source, Path), "images of folders are files"
                found = item.source.stat()
                stamp, read = f"{found.st_size}\t{found.st_mtime_ns}", partial(read_regular, item.source)
            digest.update(f"{stamp}\n".encode())
            if place in sampled:
                digest.update(hashlib.sha256(read()).digest())
        except (OSError, ImageError):              # a failure of the decoding, not of this
            digest.update(b"-\n")
    return Store(cache / f"{name[:100]}-{spec.crop}-{digest.hexdigest()[:16]}", data, spec)


def check_disk_space(cache: Path, stores: Sequence[Store]) -> None:
    """Raise DataError where the disk of ``cache`` has no room for what is not decoded yet of all ``stores``."""
    with _in_words(cache):
        cache.mkdir(parents=True, exist_ok=True)
        free, missing = shutil.disk_usage(cache).free, sum(map(_missing, stores))
    if missing > free:
        count = sum(len(store.data.items) for store in stores)
        raise DataError(
            f"{count:,} images take {missing // 2**20:,} MB more in {cache}, {free // 2**20:,} are free there",
            hint="name a folder on another disk, or use fewer images, or a smaller 'stored'",
        )


def decode_onto_disk(store: Store, threads: int) -> Generator[Progress, None, DecodedImages]:
    """All images of ``store``, mapped from its file. What is decoded already is not decoded again.

    Of several processes of a machine one decodes and the others wait for it (not on Windows). After a kill it goes on
    where the file was last flushed. Writing to the array changes no file. Raises DataError where the disk refuses,
    what is there is damaged, or nothing can be read; ConfigError where the index cannot be written.
    """
    with _in_words(store.folder):
        done, failed = _read_index(store)
        if done < len(store.data.items):
            store.folder.mkdir(parents=True, exist_ok=True)
            with (store.folder / "lock").open("wb") as lock:
                while not _locked(lock):
                    yield Progress(f"waiting for another process that reads {store.data.name}", 0, 0)
                    time.sleep(0.2)
                yield from _decode_rest(store, threads)
            _, failed = _read_index(store)
        return _decoded(store.data, _mapped(store, len(store.data.items) - len(failed)), failed)


def _decode_rest(store: Store, threads: int) -> Iterator[Progress]:
    done, found = _read_index(store)               # another process may have gone on with it while this one waited
    failed, kept = dict(found), done
    if done == len(store.data.items):
        return
    store.images.touch()
    with store.images.open("r+b") as file:
        file.write(store.header(0))
        file.seek(store.size(done - len(failed)))
        file.truncate()                            # what came after the last flush, of which nothing is known
        left, exif = store.data.items[done:], store.data.exif
        for batch in load_batches(left, store.spec, batch_size=BATCH, threads=threads, exif=exif):
            file.write(batch.pixels.tobytes())
            failed |= _failed(batch, done)
            done += len(batch.items) + len(batch.failures)
            if done - kept >= FLUSHED and done < len(store.data.items):
                _keep(store, file, done, failed)
                kept = done
            yield _doing(store.data, done)
        file.seek(0)
        file.write(store.header(done - len(failed)))
        _keep(store, file, done, failed)


def _keep(store: Store, file: IO[bytes], done: int, failed: Failed) -> None:
    """Let ``done`` images count: their rows are on the disk before the index says so."""
    file.flush()
    os.fsync(file.fileno())
    index = {
        "format": FORMAT,
        "preprocess": asdict(store.spec),
        "pictures": len(store.data.items),
        "done": done,
        "failures": [{"place": place, **asdict(failure)} for place, failure in failed.items()],
    }
    save_text(store.index, json.dumps(index, indent=1) + "\n")


def _read_index(store: Store) -> tuple[int, Failed]:
    """How many images count, and which of them failed. Raises DataError where the files are not as written."""
    try:
        index = json.loads(store.index.read_text("utf-8"))
        done = int(index["done"])
        failed = {
            int(each["place"]): Failure(store.data.items[each["place"]].path, each["error"], each["hint"])
            for each in index["failures"]
        }
    except FileNotFoundError:
        return 0, {}
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(store) from error
    if not store.images.exists() or store.images.stat().st_size < store.size(done - len(failed)):
        raise _damaged(store)
    return done, failed


def _damaged(store: Store) -> DataError:
    return DataError(f"{store.folder} is damaged", hint="delete it: its images are decoded again")


def _missing(store: Store) -> int:
    """Bytes that are still to be written."""
    total = len(store.data.items)
    if _read_index(store)[0] == total:
        return 0
    written = store.images.stat().st_size if store.images.exists() else 0
    return max(0, store.size(total) - written)


def _locked(file: IO[bytes]) -> bool:
    """Whether this process holds the lock now, until ``file`` is closed or the process ends in any way."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _mapped(store: Store, rows: int) -> NDArray[np.uint8]:
    """The array of the file, without its being read. It can be written to, as torch wants it; the file stays."""
    with store.images.open("rb") as file:
        if sys.platform == "linux":
            # For numpy's own map of this kind (mode "c") Linux sets memory aside as if all pages were going to be
            # written, and refuses files that are larger than its memory. Python 3.13 knows the flag by name.
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000)
            whole = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        else:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.ndarray(store.shape(rows), np.uint8, whole, len(store.header(rows)))


def _failed(batch: Batch, before: int) -> dict[int, Failure]:
    """The failures of a batch by place among all images, of which ``before`` came before it."""
    return {before + place: failure for place, failure in zip(batch.failed, batch.failures, strict=True)}


def _doing(data: LabelledData, done: int) -> Progress:
    return Progress(f"reading {data.name}", done, len(data.items))


def _decoded(data: LabelledData, images: NDArray[np.uint8], failed: Failed) -> DecodedImages:
    """Raises DataError where nothing is left."""
    failures = tuple(failed.values())
    if not len(images):
        raise DataError(f"none of the {len(failures)} images of {data.name} can be read", hint=failures[0].error)
    labels = [item.label for place, item in enumerate(data.items) if place not in failed]
    return DecodedImages(images, np.array(labels, np.int64), failures)


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "name another folder with --cache")
        raise DataError(f"cannot keep images in {folder}: {error.strerror or error}", hint) from error
