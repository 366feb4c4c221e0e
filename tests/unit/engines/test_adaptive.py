"""The engine of two forms: which form computes what, and that both compute the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from wideresnet.engines import EngineOptions, open_engine
from wideresnet.engines.adaptive import AdaptiveEngine
from wideresnet.records import EngineInfo
from wideresnet.tasks.load.load import ModelChoice, load_bundle

LONE, MANY = 1.0, 2.0


class Form:
    """An engine that answers with its own number."""

    info = EngineInfo("none", "", "CPU", "f32", 1, 1)

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(batch), 1), self.answer, np.float32)

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return map(self, batches)

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        return ([self(batch)] for batch in batches)


def images(count: int, side: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def form_of(engine: AdaptiveEngine, *batches: NDArray[np.uint8]) -> list[float]:
    return [form for (logits,) in engine.outputs(batches) for form in logits[:, 0].tolist()]


@pytest.mark.parametrize(
    ("counts", "forms"),
    [((1,), [LONE]), ((2,), [MANY, MANY]), ((1, 1), [MANY, MANY]), ((0,), []), ((), []), ((3, 1), [MANY] * 4)],
)
def test_a_lone_image_gets_the_form_of_all_threads(counts: tuple[int, ...], forms: list[float]) -> None:
    engine = AdaptiveEngine(Form(LONE), Form(MANY))
    assert form_of(engine, *map(images, counts)) == forms
    assert form_of(engine, images(1)) == [LONE], "the call before has ended"
    assert engine(images(1)).tolist() == [[LONE]]
    assert [logits.tolist() for logits in engine.stream([images(1)])] == [[[LONE]]]


def test_an_image_beside_another_gets_a_stream() -> None:
    engine = AdaptiveEngine(Form(LONE), Form(MANY))
    running = engine.outputs([images(1)])
    next(running)
    assert form_of(engine, images(1)) == [MANY]
    running.close()
    assert form_of(engine, images(1)) == [LONE]


def test_a_failure_ends_a_call() -> None:
    lone = Form(LONE)
    lone.answer = np.array("no number")                       # type: ignore[assignment]
    engine = AdaptiveEngine(lone, Form(MANY))
    for _ in range(2):
        with pytest.raises(ValueError, match="no number"):
            engine(images(1))


def test_both_forms_give_the_same_bits() -> None:
    bundle = load_bundle(ModelChoice("wrn_16_4.cifar10"))
    adaptive = open_engine(bundle, options=EngineOptions(threads=2, hint="adaptive"))
    plain = open_engine(bundle, options=EngineOptions(threads=2, hint="latency"))
    batch = images(9, 32)
    expected = plain(batch)
    assert isinstance(adaptive, AdaptiveEngine)
    assert np.array_equal(np.concatenate([adaptive(batch[row : row + 1]) for row in range(9)]), expected)
    assert np.array_equal(adaptive(batch), expected)
