from __future__ import annotations

import io
import itertools
import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wideresnet.errors import ConfigError
from wideresnet.images import crops, isolated, loader
from wideresnet.images.decode import decode, open_image
from wideresnet.images.loader import load_batches, load_crop
from wideresnet.images.preprocess import MEAN_TOLERANCE, MIN_SCALE, TOLERANCE, preprocess
from wideresnet.records import Item, Preprocess

FIXTURES = Path(__file__).parents[2] / "golden" / "fixtures"
SPEC = Preprocess(resize=8, crop=8)
THREADS = pytest.mark.parametrize("threads", [1, 3])


def flat(value: int, side: int = 64) -> np.ndarray:
    """An image that a thread resizes, unless ``side`` is that of the crop."""
    return np.full((side, side, 3), value % 256, np.uint8)


def numbered(n: int) -> list[Item]:
    """Items whose pixels say their number."""
    return [Item(str(k), flat(k), label=k) for k in range(n)]


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@THREADS
def test_batches_are_in_order_and_complete(threads):
    batches = list(load_batches(numbered(23), SPEC, batch_size=5, threads=threads))
    assert [len(batch.items) for batch in batches] == [5, 5, 5, 5, 3]
    assert [item.label for batch in batches for item in batch.items] == list(range(23))
    assert [int(p[0, 0, 0]) for batch in batches for p in batch.pixels] == list(range(23))
    assert all(batch.pixels.shape[1:] == (8, 8, 3) and batch.pixels.dtype == np.uint8 for batch in batches)
    assert batches[0].pixels.flags.writeable


@THREADS
def test_a_bad_file_is_one_failure_and_the_run_goes_on(threads, tmp_path):
    """Files, bytes and arrays mixed; the failure carries path, error and hint."""
    items = [
        Item("good", FIXTURES / "rgb.png"),
        Item("missing", tmp_path / "missing.jpg"),
        Item("bytes", (FIXTURES / "tall.jpg").read_bytes()),
        Item("page", b"<html></html>"),
        Item("array", flat(7)),
    ]
    (batch,) = load_batches(items, SPEC, batch_size=8, threads=threads)
    assert [item.path for item in batch.items] == ["good", "bytes", "array"]
    assert [failure.path for failure in batch.failures] == ["missing", "page"]
    assert batch.pixels.shape == (3, 8, 8, 3)
    assert "no such file" in batch.failures[0].error
    assert batch.failures[1].hint


@THREADS
def test_a_batch_of_failures_has_no_pixels(threads):
    (batch,) = load_batches([Item("a", b""), Item("b", b"")], SPEC, batch_size=2, threads=threads)
    assert batch.pixels.shape == (0, 8, 8, 3)
    assert len(batch.failures) == 2


@THREADS
def test_no_items_no_batches(threads):
    assert list(load_batches([], SPEC, batch_size=4, threads=threads)) == []


@THREADS
def test_an_endless_list_is_pulled_no_more_than_two_batches_ahead(threads):
    """Memory stays bounded, and stopping early ends the threads."""
    pulled = itertools.count()
    items = (Item(str(k), flat(k)) for k in iter(lambda: next(pulled), None))
    batches = load_batches(items, SPEC, batch_size=4, threads=threads)
    for count in range(1, 6):
        next(batches)
        assert int(repr(pulled)[6:-1]) <= 4 * (count + 2)
    batches.close()
    assert decoders() == []


@THREADS
def test_nothing_is_pulled_before_the_first_batch_is_asked_for(threads):
    def items():
        pytest.fail("pulled too early")
        yield

    load_batches(items(), SPEC, batch_size=4, threads=threads)


@THREADS
def test_an_error_of_the_list_itself_comes_through_and_ends_the_threads(threads):
    def items():
        yield from numbered(6)
        raise OSError("the network drive is gone")

    with pytest.raises(OSError, match="network drive"):
        list(load_batches(items(), SPEC, batch_size=2, threads=threads))
    assert decoders() == []


def test_an_error_in_the_callers_loop_ends_the_threads():
    def run():
        for _ in load_batches(numbered(500), SPEC, batch_size=2, threads=3):
            raise RuntimeError("engine gone")

    with pytest.raises(RuntimeError, match="engine gone"):
        run()
    assert decoders() == []


def test_our_own_faults_are_not_failures():
    """Only ImageError is an image's fault."""
    with pytest.raises(TypeError):
        list(load_batches([Item("x", "a string")], SPEC, batch_size=1, threads=2))  # type: ignore[arg-type]


def test_photographs_are_turned_when_asked():
    image = Item("turned", FIXTURES / "orientation_6.jpg")
    shots = [
        next(load_batches([image], SPEC, batch_size=1, threads=1, exif=exif)).pixels
        for exif in ("ignore", "transpose")
    ]
    assert not np.array_equal(*shots)


def test_one_thread_needs_no_pool():
    batches = load_batches(numbered(9), SPEC, batch_size=2, threads=1)
    next(batches)
    assert decoders() == []


def test_arrays_that_are_crops_take_no_thread_and_keep_their_order():
    items = [Item(str(k), flat(k, 8 if k % 3 else 64), label=k) for k in range(20)]
    batches = load_batches(items, SPEC, batch_size=5, threads=3)
    assert [int(p[0, 0, 0]) for batch in batches for p in batch.pixels] == list(range(20))
    small = load_batches([item for item in items if item.source.shape[0] == 8], SPEC, batch_size=5, threads=3)
    assert len(next(small).items) == 5
    assert not decoders()


@pytest.mark.parametrize(("batch_size", "threads"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused_at_once(batch_size, threads):
    with pytest.raises(ConfigError):
        load_batches([], SPEC, batch_size=batch_size, threads=threads)


def test_threads_give_the_same_as_one(tmp_path):
    rng = np.random.default_rng(0)
    items = []
    for k in range(30):
        path = tmp_path / f"{k}.jpg"
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
        items.append(Item(path.name, path))
    single, many = (
        np.concatenate([batch.pixels for batch in load_batches(items, SPEC, batch_size=7, threads=threads)])
        for threads in (1, 4)
    )
    np.testing.assert_array_equal(single, many)


# Reduced decoding

EXAMPLES = Path(__file__).parents[3] / "examples"


def large_jpeg(scale: int, spec: Preprocess, photograph: Path, turn: int = 1) -> bytes:
    """A photograph as the smallest JPEG that may be decoded at 1/scale, with an EXIF turn."""
    height = math.ceil(MIN_SCALE * spec.resize) * scale
    image = Image.open(photograph).convert("RGB").resize((height * 5 // 4 // scale * scale, height))
    exif = Image.Exif()
    exif[0x0112] = turn
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("photograph", ["car.jpg", "cat.png", "coffee.jpg", "dog.jpg", "goose.webp"])
@pytest.mark.parametrize("turn", [1, 6])
def test_reduced_decoding_stays_within_its_tolerance(scale, photograph, turn):
    spec = Preprocess(32, 28)
    data = large_jpeg(scale, spec, EXAMPLES / photograph, turn)
    exact = load_crop(data, spec, exif="transpose").astype(int)
    difference = np.abs(exact - load_crop(data, spec, exif="transpose", reduced=True))
    assert 0 < difference.max() <= TOLERANCE       # 0 would mean that nothing was reduced
    assert difference.mean() <= MEAN_TOLERANCE


def test_a_twelve_megapixel_photograph_is_decoded_at_a_quarter():
    spec = Preprocess(256, 224)
    stream = io.BytesIO()
    Image.open(EXAMPLES / "dog.jpg").convert("RGB").resize((4032, 3024)).save(stream, "JPEG")
    assert open_image(stream.getvalue(), min_side=math.ceil(MIN_SCALE * spec.resize)).size == (1008, 756)


@pytest.mark.parametrize(("width", "height"), [(641, 640), (640, 641), (160, 159)])
def test_sizes_that_do_not_divide_evenly_or_are_too_small_are_decoded_whole(width, height):
    stream = io.BytesIO()
    Image.new("RGB", (width, height)).save(stream, "JPEG")
    assert open_image(stream.getvalue(), min_side=80).size == (width, height)


def test_only_jpeg_is_reduced_and_only_when_asked(tmp_path):
    """Of another format the crop alone is taken sooner."""
    spec = Preprocess(32, 28)
    data = large_jpeg(8, spec, EXAMPLES / "dog.jpg")
    np.testing.assert_array_equal(load_crop(data, spec), preprocess(decode(data), spec))
    path = tmp_path / "large.png"
    Image.open(io.BytesIO(data)).save(path)
    assert np.abs(load_crop(path, spec, reduced=True).astype(int) - load_crop(path, spec)).max() <= 1


def test_small_images_are_exact_however_asked():
    spec = Preprocess(32, 28)
    noise = np.random.default_rng(0).integers(0, 256, (math.ceil(MIN_SCALE * 32) - 1, 120, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG")
    crops = [load_crop(stream.getvalue(), spec, reduced=reduced) for reduced in (False, True)]
    np.testing.assert_array_equal(*crops)


def test_several_crops_of_an_image_are_those_of_each_preprocessing(tmp_path, monkeypatch):
    """From one decoded image: JPEG, pixels, and what is decoded in a process, with failures in their places."""
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(photo, quality=90)
    specs = [Preprocess(16, 12), Preprocess(40, 32, interpolation="bicubic"), Preprocess(24, 24, mode="squash")]
    pixels = np.random.default_rng(1).integers(0, 256, (30, 20, 3), np.uint8)
    items = [Item("a", photo), Item("b", b"no image"), Item("c", pixels), Item("d", photo.read_bytes())]
    opened = []
    decode = isolated.open_image
    monkeypatch.setattr(isolated, "open_image", lambda *args, **options: opened.append(1) or decode(*args, **options))
    (batch,) = loader.load_batches(items, specs, batch_size=4, threads=2)
    assert len(opened) == 3                        # each image once
    assert [failure.path for failure in batch.failures] == ["b"]
    for stack, spec in zip((batch.pixels, *batch.member_crops), specs, strict=True):
        alone = [loader.load_crop(item.source, spec) for item in items if item.path != "b"]
        for row, crop in enumerate(alone):
            np.testing.assert_array_equal(stack[row], crop)
        assert stack.nbytes == sum(crop.nbytes for crop in alone)
    monkeypatch.setattr(crops, "is_slow", lambda *_: True)
    (slow,) = loader.load_batches(items[:1], specs, batch_size=4, threads=1)
    np.testing.assert_array_equal(slow.member_crops[0][0], batch.member_crops[0][0])
    (empty,) = loader.load_batches(items[1:2], specs, batch_size=4, threads=1)
    assert empty.pixels.shape == (0, 12, 12, 3)
    assert [stack.nbytes for stack in empty.member_crops] == [0, 0]


def test_several_reduced_crops_are_close_to_the_exact_ones(tmp_path):
    gradient = np.linspace(0, 255, 2400 * 1600 * 3).reshape(1600, 2400, 3).astype(np.uint8)
    Image.fromarray(gradient).save(tmp_path / "large.jpg", quality=95)
    specs = [Preprocess(100, 88), Preprocess(256, 224)]
    item = Item("a", tmp_path / "large.jpg")
    ways = (False, True)
    exact, reduced = (next(loader.load_batches([item], specs, batch_size=1, threads=1, reduced=way)) for way in ways)
    for a, b in zip((exact.pixels, *exact.member_crops), (reduced.pixels, *reduced.member_crops), strict=True):
        assert np.abs(a[0].astype(int) - b[0]).mean() < 2
