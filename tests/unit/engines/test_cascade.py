"""Cascades as engines: answers are those of the rule applied to the members' logits, in order, in full batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import TINY, tiny_bundle, tiny_images
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.engines import cascade as engines_cascade
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.errors import EngineError
from wideresnet.images import crops, loader
from wideresnet.logits import certainty
from wideresnet.records import Cascade, CascadeMember, CascadePoint, EngineInfo, Item, Preprocess

SPEC = Preprocess(resize=4, crop=4, mode="squash")
RNG = np.random.default_rng(7)
WEIGHTS = [RNG.normal(size=(48, 10)) / 300 * (1 + 2 * member) for member in range(3)]


class LinearEngine:
    """Logits that depend on every pixel; ``calls`` holds the number of images of each call."""

    def __init__(self, member: int, streams: int = 1) -> None:
        self.weights, self.calls = WEIGHTS[member], list[int]()
        self.info = EngineInfo("linear", "1", "CPU", "f32", 1, streams)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls.append(len(batch))
        rows = [row.reshape(-1).astype(float) @ self.weights for row in batch]
        return np.array(rows, np.float32).reshape(-1, 10)

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return map(self, batches)


def make_cascade(thresholds: tuple[float, ...], specs: tuple[Preprocess, ...] = (SPEC, SPEC)) -> Cascade:
    members = tuple(CascadeMember(f"m{i}", "", spec, 1, 1.5 + i) for i, spec in enumerate(specs))
    point = CascadePoint("margin", thresholds, (10, *(5,) * len(thresholds)), 5, 0, 0, 1.0)
    return Cascade(members, point, 0.01, "data", "", 10, True, "linear", "f32")


def expected(images: NDArray[np.uint8], cascade: Cascade) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The rule applied by hand."""
    logits = [LinearEngine(number)(images) for number in range(len(cascade.members))]
    sure = [certainty(values, "margin", m.temperature) for values, m in zip(logits, cascade.members, strict=True)]
    member = np.array([
        next((m for m, threshold in enumerate(cascade.point.thresholds) if sure[m][row] >= threshold), len(sure) - 1)
        for row in range(len(images))
    ])  # fmt: skip
    return np.stack(logits)[member, np.arange(len(images))], member


@pytest.mark.parametrize("size", [1, 3, 8, 50])
@pytest.mark.parametrize(("waiting", "streams"), [(2**26, 1), (2**26, 3), (2000, 1), (1, 2)])
@pytest.mark.parametrize("thresholds", [(0.5,), (0.5, 0.7), (0.0, 0.0), (2.0, 2.0)])
def test_answers_are_those_of_the_rule_applied_by_hand(
    monkeypatch: pytest.MonkeyPatch, size: int, waiting: int, streams: int, thresholds: tuple[float, ...]
) -> None:
    monkeypatch.setattr(engines_cascade, "WAITING", waiting)
    images = tiny_images(170, 4)
    count = len(thresholds) + 1
    cascade = make_cascade(thresholds, (SPEC,) * count)
    engine = CascadeEngine(cascade, [LinearEngine(number, streams) for number in range(count)])
    batches = [images[start : start + size] for start in range(0, 170, size)] + [images[:0]]
    logits, members = zip(*engine.answers((batch,) for batch in batches), strict=True)
    assert [len(part) for part in logits] == [len(batch) for batch in batches]
    values, member = expected(images, cascade)
    np.testing.assert_array_equal(np.concatenate(logits), values)
    np.testing.assert_array_equal(np.concatenate(members), member)
    np.testing.assert_array_equal(engine(images), values)


def test_passed_on_images_are_collected_in_full_batches() -> None:
    cascade = make_cascade((0.3,))
    members = [LinearEngine(0), LinearEngine(1)]
    images = tiny_images(400, 4)
    list(CascadeEngine(cascade, members).stream(images[i : i + 8] for i in range(0, 400, 8)))
    assert members[0].calls == [8] * 50
    assert set(members[1].calls[:-1]) == {8}
    assert 8 < sum(members[1].calls) == (expected(images, cascade)[1] == 1).sum() < 400


def test_no_more_than_the_limit_waits_for_a_batch_to_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_cascade, "WAITING", 10 * 8 * 48)
    images, taken = tiny_images(800, 4), 0
    engine = CascadeEngine(make_cascade((0.01,)), [LinearEngine(0), LinearEngine(1)])

    def batches() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        for start in range(0, 800, 8):
            taken += 1
            yield images[start : start + 8]

    ahead = [taken - number for number, _ in enumerate(engine.stream(batches()))]
    assert max(ahead) <= 12


def test_members_get_their_own_crops() -> None:
    large = Preprocess(resize=8, crop=8, mode="squash")
    cascade = make_cascade((2.0,), (SPEC, large))
    taken: list[tuple[int, ...]] = []

    class Large(LinearEngine):
        def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            taken.append(batch.shape)
            return np.zeros((len(batch), 10), np.float32)

    engine = CascadeEngine(cascade, [LinearEngine(0), Large(1)])
    list(engine.answers([(tiny_images(3, 4), tiny_images(3, 8))]))
    assert taken == [(3, 8, 8, 3)]
    with pytest.raises(EngineError, match="different crops: 4, 8 pixels"):
        engine(tiny_images(3, 4))


@pytest.mark.parametrize("kept", [2**26, 5000, 0])
def test_later_crops_are_made_of_passed_on_images_only(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """Those beyond ``kept`` bytes of decoded images are made at once. All decoded images are dropped in the end."""
    monkeypatch.setattr(crops, "MAX_DECODED_BYTES", kept)
    made, preprocess = [], crops.preprocess
    monkeypatch.setattr(crops, "preprocess", lambda image, spec, **_: made.append(spec) or preprocess(image, spec))
    readers: list[crops.ImageReader] = []
    reader = crops.ImageReader
    monkeypatch.setattr(loader, "ImageReader", lambda *args, **kw: readers.append(reader(*args, **kw)) or readers[-1])
    large = Preprocess(resize=8, crop=8, mode="squash")
    pixels = tiny_images(60, 20)
    first, second = (np.stack([preprocess(image, spec) for image in pixels]) for spec in (SPEC, large))
    certainties = certainty(LinearEngine(0)(first), "margin", 1.5)
    threshold = float(np.median(certainties))
    cascade = make_cascade((threshold,), (SPEC, large))

    class Large(LinearEngine):
        def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().__call__(batch[:, ::2, ::2])

    items = [Item(str(number), image) for number, image in enumerate(pixels)]
    batches = loader.load_batches(items, [SPEC, large], batch_size=7, threads=2)
    answers = CascadeEngine(cascade, [LinearEngine(0), Large(1)]).answers((b.pixels, *b.member_crops) for b in batches)
    logits, members = map(np.concatenate, zip(*answers, strict=True))
    is_sure = certainties >= threshold
    np.testing.assert_array_equal(members, np.where(is_sure, 0, 1))
    wanted = np.where(is_sure[:, None], LinearEngine(0)(first), Large(1)(second))
    np.testing.assert_array_equal(logits, wanted)
    later = made.count(large)
    assert later == {2**26: 30, 0: 60}.get(kept, later)
    assert 30 <= later <= 60
    assert [reader._free for reader in readers] == [kept]


def test_logits_that_are_not_finite_are_an_error_of_any_member() -> None:
    class Broken(LinearEngine):
        def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(batch), 10), np.nan, np.float32)

    engine = CascadeEngine(make_cascade((0.5,)), [Broken(0), LinearEngine(1)])
    with pytest.raises(EngineError, match="not finite"):
        engine(tiny_images(2, 4))


@pytest.mark.parametrize("options", [EngineOptions(threads=1), EngineOptions(threads=2, hint="throughput", streams=2)])
def test_real_engines_answer_as_their_logits_and_the_rule_say(options: EngineOptions) -> None:
    networks = tiny_bundle(TINY["wrn_10_1"]), tiny_bundle(TINY["wrn_16_2"])
    images = tiny_images(60, 32)
    first, last = (open_engine(network)(images) for network in networks)
    sure = certainty(first, "margin", 1.5)
    cascade = make_cascade((float(np.median(sure)),), tuple(network.card.preprocess for network in networks))
    bundle = replace(networks[1], card=replace(networks[1].card, cascade=cascade), graph=b"", members=networks)
    engine = open_engine(bundle, options=options)
    wanted = np.where((sure < cascade.point.thresholds[0])[:, None], last, first)
    for size in (1, 7, 60):
        answers = np.concatenate(list(engine.stream(images[i : i + size] for i in range(0, 60, size))))
        np.testing.assert_array_equal(answers, wanted)
