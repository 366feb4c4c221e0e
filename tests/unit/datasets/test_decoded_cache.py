"""Images decoded onto a disk: the same as in memory, once, whatever interrupts it, and never those of other files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fakes import tiny_images, write_tar
from wideresnet.datasets import decoded_cache as decoded
from wideresnet.datasets.decoded_cache import (
    DecodedImages,
    DecodedStore,
    check_disk_space,
    decode_into_memory,
    decode_onto_disk,
    open_store,
)
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.tar import TarImages
from wideresnet.errors import ConfigError, DataError
from wideresnet.machine import memory_mb
from wideresnet.records import Batch, Item, Labels, Preprocess, Progress, follow

SPEC = Preprocess(resize=8, crop=8)
COUNT = 30
BROKEN = (3, 17)                                   # indices


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "BATCH", 4)
    monkeypatch.setattr(decoded, "FLUSH_INTERVAL", 8)


@pytest.fixture
def data(tmp_path: Path) -> LabelledData:
    """Thirty images of two classes, two of which are none."""
    for number, pixels in enumerate(tiny_images(COUNT, 12)):
        path = tmp_path / "pets" / "ab"[number // 15] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number in BROKEN:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(pixels).save(path)
    return pets(tmp_path / "pets")


def pets(folder: Path) -> LabelledData:
    return labelled_folder(folder, Labels(("a", "b")))


def store(data: LabelledData, cache: Path) -> DecodedStore:
    return open_store(cache, "pets", data, SPEC)


def assert_as_in_memory(result: DecodedImages, data: LabelledData) -> None:
    expected = follow(decode_into_memory(data, SPEC, 1))
    assert np.array_equal(result.images, expected.images)
    assert np.array_equal(result.labels, expected.labels)
    assert result.failures == expected.failures
    assert (result.images.dtype, result.labels.dtype) == (np.uint8, np.int64)


def interrupted(store: DecodedStore, after: int) -> None:
    """Decode until ``after`` batches are told of, and no further."""
    work = decode_onto_disk(store, 1)
    for _ in range(after):
        next(work)
    work.close()


def refuse_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("something is decoded")

    monkeypatch.setattr(decoded, "load_batches", fail)


def test_it_is_what_memory_would_hold(data: LabelledData, tmp_path: Path) -> None:
    result = follow(decode_onto_disk(store(data, tmp_path / "cache"), 2))
    assert_as_in_memory(result, data)
    assert result.labels.tolist() == [0] * 14 + [1] * 14
    assert [failure.path for failure in result.failures] == [data.items[index].path for index in BROKEN]


def test_other_programs_can_open_the_array(data: LabelledData, tmp_path: Path) -> None:
    cached = store(data, tmp_path / "cache")
    result = follow(decode_onto_disk(cached, 1))
    assert np.array_equal(np.load(cached.images), result.images)
    index = json.loads(cached.index.read_text())
    assert (index["pictures"], index["done"], index["preprocess"]["crop"]) == (30, 30, 8)


def test_a_second_time_nothing_is_decoded_and_the_failures_are_told_again(
    data: LabelledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = follow(decode_onto_disk(store(data, tmp_path / "cache"), 1))
    refuse_to_decode(monkeypatch)
    again = follow(decode_onto_disk(store(pets(tmp_path / "pets"), tmp_path / "cache"), 1))
    assert np.array_equal(again.images, first.images)
    assert again.failures == first.failures
    assert len(again.failures) == 2


def test_the_array_can_be_written_to_and_the_file_stays(data: LabelledData, tmp_path: Path) -> None:
    cached = store(data, tmp_path / "cache")
    result, before = follow(decode_onto_disk(cached, 1)), cached.images.read_bytes()
    assert result.images.flags.writeable, "torch warns about others"
    result.images[:] = 0
    assert cached.images.read_bytes() == before


@pytest.mark.skipif(memory_mb() is None, reason="asks Linux how much memory there is")
def test_an_array_larger_than_the_memory_can_be_opened(tmp_path: Path) -> None:
    rows = 2 * (memory_mb() or 0) // 12            # of 12 MB
    items = [Item("", tmp_path / "x.png", 0)] * rows
    cached = DecodedStore(tmp_path, LabelledData("pets", items, 1), Preprocess(resize=2048, crop=2048))
    cached.index.write_text(json.dumps({"done": rows, "failures": []}))
    cached.images.write_bytes(cached.header(rows))
    os.truncate(cached.images, cached.size(rows))      # a hole: it takes no room
    result = follow(decode_onto_disk(cached, 1))
    result.images[-1, -1, -1] = 1
    assert result.images.shape == (rows, 2048, 2048, 3)


@pytest.mark.parametrize("after", range(1, 9))
def test_what_was_interrupted_goes_on_and_comes_to_the_same(
    data: LabelledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    cached, counts = store(data, tmp_path / "cache"), list[int]()
    interrupted(cached, after)
    load = decoded.load_batches

    def counting(items: list[Item], *arguments: Preprocess, **options: int) -> Iterator[Batch]:
        counts.append(len(items))
        return load(items, *arguments, **options)

    monkeypatch.setattr(decoded, "load_batches", counting)
    result = follow(decode_onto_disk(cached, 1))
    flushed = min(8 * (after // 2), 24)            # the last batches are when nothing more is told
    assert counts == [COUNT - flushed]
    assert_as_in_memory(result, data)
    assert np.array_equal(np.load(cached.images), result.images)


def test_rows_after_the_last_flush_do_not_count(data: LabelledData, tmp_path: Path) -> None:
    cached = store(data, tmp_path / "cache")
    interrupted(cached, 2)
    with cached.images.open("ab") as file:
        file.write(b"half a row" * 1000)           # more than is still to come
    assert_as_in_memory(follow(decode_onto_disk(cached, 1)), data)
    assert cached.images.stat().st_size == cached.size(28)


@pytest.mark.parametrize("change", ["pixels", "time", "name", "more", "spec", "exif"])
def test_other_images_are_kept_elsewhere(data: LabelledData, tmp_path: Path, change: str) -> None:
    before, first, spec = store(data, tmp_path).folder, tmp_path / "pets/a/00.png", SPEC
    if change == "pixels":
        status = first.stat()
        first.write_bytes(bytes(reversed(first.read_bytes())))
        os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(first, ns=(0, 0))
    elif change == "name":
        first.rename(first.with_name("001.png"))
    elif change == "more":
        shutil.copy(first, first.with_name("more.png"))
    elif change == "spec":
        spec = Preprocess(resize=9, crop=8)
    now = replace(pets(tmp_path / "pets"), exif="transpose" if change == "exif" else "ignore")
    assert open_store(tmp_path, "pets", now, spec).folder != before


def test_the_same_images_are_known_wherever_they_lie(data: LabelledData, tmp_path: Path) -> None:
    before = store(data, tmp_path).folder
    (tmp_path / "pets").rename(tmp_path / "moved")
    assert store(pets(tmp_path / "moved"), tmp_path).folder == before
    spec = Preprocess(resize=8, crop=8, mean=(0, 0, 0))
    assert open_store(tmp_path, "pets", pets(tmp_path / "moved"), spec).folder == before, "it is not in the pixels"


def test_images_in_shards_are_kept_too(data: LabelledData, tmp_path: Path) -> None:
    """Other bytes under the same names are kept elsewhere, whether their sizes tell or only they themselves."""
    files = [(Path(item.path).name, item.source.read_bytes()) for item in data.items if isinstance(item.source, Path)]

    def store_with(files: list[tuple[str, bytes]]) -> DecodedStore:
        rows = TarImages(str(write_tar(tmp_path / "x.tar", files)))
        items = [Item(path, source, item.label) for (path, source, _), item in zip(rows, data.items, strict=True)]
        return store(LabelledData("x", [*items, Item("row of another file", items[0].source, 0)], 2), tmp_path)

    folder = store_with(files).folder
    assert store_with(files).folder == folder
    assert_as_in_memory(follow(decode_onto_disk(store_with(files), 1)), store_with(files).data)
    name, first = files[0]
    assert store_with([(name, first + b"x"), *files[1:]]).folder != folder
    assert store_with([(name, first[:-1] + b"x"), *files[1:]]).folder != folder


def test_an_image_that_is_gone_is_a_failure(data: LabelledData, tmp_path: Path) -> None:
    (tmp_path / "pets/b/20.png").unlink()
    assert_as_in_memory(follow(decode_onto_disk(store(data, tmp_path / "cache"), 1)), data)


def test_nothing_that_can_be_read_is_an_error_every_time(tmp_path: Path) -> None:
    (tmp_path / "pets/a").mkdir(parents=True)
    (tmp_path / "pets/a/x.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(DataError, match="none of the 1 images of pets can be read"):
            follow(decode_onto_disk(store(pets(tmp_path / "pets"), tmp_path / "cache"), 1))


def test_only_what_is_missing_needs_room(
    data: LabelledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, free = store(data, tmp_path / "cache"), SimpleNamespace(free=4000)
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(DataError, match="30 images take 0 MB more in"):
        check_disk_space(tmp_path / "cache", [cached])              # 30 times 192 bytes
    interrupted(cached, 3)
    check_disk_space(tmp_path / "cache", [cached])
    follow(decode_onto_disk(cached, 1))
    free.free = 0
    check_disk_space(tmp_path / "cache", [cached])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_index_that_cannot_be_written_leaves_the_one_before(data: LabelledData, tmp_path: Path) -> None:
    cached = store(data, tmp_path / "cache")
    interrupted(cached, 4)
    part = cached.index.with_name(".index.json.part")
    part.symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="No space left on device"):
        follow(decode_onto_disk(cached, 1))
    part.unlink(missing_ok=True)
    assert_as_in_memory(follow(decode_onto_disk(cached, 1)), data)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_helps(
    data: LabelledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(decoded.os, "fsync", full)
        with pytest.raises(DataError, match="cannot store decoded images in") as caught:
            follow(decode_onto_disk(store(data, tmp_path / "cache"), 1))
    assert caught.value.hint.startswith("make room and run the same command again")
    assert_as_in_memory(follow(decode_onto_disk(store(data, tmp_path / "cache"), 1)), data)


def test_a_cache_that_is_no_folder_is_an_error_in_words(data: LabelledData, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="cannot store decoded images in") as caught:
        check_disk_space(tmp_path / "cache", [store(data, tmp_path / "cache")])
    assert "--cache" in caught.value.hint


@pytest.mark.parametrize("damage", ["shorter", "gone", "index"])
def test_what_is_damaged_is_not_trained_on(data: LabelledData, tmp_path: Path, damage: str) -> None:
    cached = store(data, tmp_path / "cache")
    follow(decode_onto_disk(cached, 1))
    if damage == "shorter":
        os.truncate(cached.images, cached.size(28) - 1)
    elif damage == "gone":
        cached.images.unlink()
    else:
        cached.index.write_text('{"done": 30}')
    with pytest.raises(DataError, match="is damaged") as caught:
        follow(decode_onto_disk(cached, 1))
    assert "delete it" in caught.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_while_another_decodes_one_waits_and_opens_what_it_made(
    data: LabelledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded.time, "sleep", lambda seconds: None)
    cached = store(data, tmp_path / "cache")
    first, second = decode_onto_disk(cached, 1), decode_onto_disk(cached, 1)
    assert next(first) == Progress("reading pets", 4, 30)
    for _ in range(3):
        assert next(second) == Progress("waiting for another process that reads pets", 0, 0)
    follow(first)
    refuse_to_decode(monkeypatch)
    assert np.array_equal(follow(second).images, np.load(cached.images))


WORK = """
import sys
from pathlib import Path
from wideresnet.datasets import decoded_cache as decoded
from wideresnet.datasets.folder import labelled_folder
from wideresnet.records import Labels, Preprocess
decoded.BATCH, decoded.FLUSH_INTERVAL = 4, 8
data = labelled_folder(Path("pets"), Labels(("a", "b")))
for event in decoded.decode_onto_disk(decoded.open_store(Path("cache"), "pets", data, Preprocess(resize=8, crop=8)), 1):
    print(event.activity, event.done, flush=True)
    if event.done == int(sys.argv[1]):
        sys.stdin.readline()
"""


def begin(folder: Path, pause: int) -> subprocess.Popen[str]:
    """A process that decodes, and waits for a line after so many images."""
    return subprocess.Popen(
        [sys.executable, "-c", WORK, str(pause)], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_killed_process_keeps_nobody_waiting_and_what_it_made_counts(data: LabelledData, tmp_path: Path) -> None:
    with begin(tmp_path, pause=12) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)][-1] == "reading pets 12\n"
        work = decode_onto_disk(store(data, tmp_path / "cache"), 1)
        assert next(work).activity == "waiting for another process that reads pets"
        process.send_signal(signal.SIGKILL)
        process.wait()
    told = [event.done for event in work if event.done]
    assert told == [12, 16, 20, 24, 28, 30], "eight were flushed"
    assert_as_in_memory(follow(decode_onto_disk(store(data, tmp_path / "cache"), 1)), data)
