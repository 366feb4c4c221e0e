"""Both modes give the same answers; "sync" never reads beyond the batch it is at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from fakes import FakeEngine
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import read_labels
from wideresnet.records import InferenceSettings, InferMode, Item, ModelCard, Preprocess
from wideresnet.tasks.classify.classify import classify, infer

SPEC = Preprocess(resize=32, crop=32)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def classifier(engine: FakeEngine) -> Classifier:
    return Classifier(ModelCard("fake", "wrn_10_1", 10, SPEC, "fp32", "Apache-2.0"), read_labels("cifar10"), engine)


def items(engine: FakeEngine, pulled: list[int]) -> Iterator[Item]:
    for number in range(10):
        pulled.append(number)
        yield Item(f"{number}", b"no image" if number == 5 else engine.image(number))


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_both_modes_answer_the_same_in_the_same_batches(
    classifier: Classifier, engine: FakeEngine, batch_size: int
) -> None:
    found, calls = [], []
    for mode in ("sync", "async"):
        found.append(list(classify(classifier, items(engine, []), InferenceSettings(batch_size=batch_size, mode=mode))))
        calls.append([count for count in engine.calls if count])
        engine.calls.clear()
    assert found[0] == found[1]
    assert calls[0] == calls[1]


@pytest.mark.parametrize(("mode", "ahead"), [("sync", 3), ("async", 9)])
def test_sync_reads_one_batch_before_its_answer(
    classifier: Classifier, engine: FakeEngine, mode: InferMode, ahead: int
) -> None:
    pulled: list[int] = []
    engine.info = replace(engine.info, threads=2)
    answered = infer(classifier, items(engine, pulled), InferenceSettings(batch_size=3, mode=mode))
    batch, logits = next(answered)
    assert (len(batch.items), logits.shape) == (3, (3, 10))
    assert (len(pulled) == 3) is (mode == "sync")
    assert len(pulled) <= ahead
    answered.close()                               # type: ignore[attr-defined]
