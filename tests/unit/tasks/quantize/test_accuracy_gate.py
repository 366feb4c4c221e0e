"""Paired comparison: exact counts, McNemar's exact p, and an interval that covers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import FakeEngine, tiny_bundle
from wideresnet.classifier import Classifier
from wideresnet.errors import DataError
from wideresnet.logits import deviation, divergence
from wideresnet.records import EvalReport, GateReport, Item, follow
from wideresnet.tasks.evaluate.comparison import compare_pairs
from wideresnet.tasks.evaluate.evaluate import score_logits
from wideresnet.tasks.quantize.accuracy_gate import AccuracyGate, compute_reference_logits, run_gate


def test_counts_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200, 10)).astype(np.float32)
    second += 2 * first
    labels = rng.integers(0, 10, 200)
    items, blank = [Item(str(k), b"", int(label)) for k, label in enumerate(labels)], EvalReport("", "", None, 0, 0, 0)
    scores = (score_logits(items, logits, range(10)) for logits in (first, second))
    counts = compare_pairs(list(zip(*scores, strict=True)), (blank, blank))
    hits = [(a.argmax() == label, b.argmax() == label) for a, b, label in zip(first, second, labels, strict=True)]
    assert counts.n == 200
    assert counts.a.correct1 == sum(a for a, _ in hits)
    assert counts.b.correct1 == sum(b for _, b in hits)
    assert counts.only_a_correct == sum(a and not b for a, b in hits)
    assert counts.only_b_correct == sum(b and not a for a, b in hits)
    assert counts.agreements == (first.argmax(1) == second.argmax(1)).sum()
    top5 = [label in np.argsort(-row)[:5] for row, label in zip(first, labels, strict=True)]
    assert counts.a.correct5 == sum(top5)


def test_equal_answers_have_no_divergence_and_other_answers_have() -> None:
    logits = np.random.default_rng(1).normal(size=(20, 10)).astype(np.float32)
    assert divergence(logits, logits + 5).sum() == pytest.approx(0, abs=1e-6)
    assert divergence(logits, -logits).sum() > 1


@dataclass
class Shifted:
    """Names the next class for images darker than ``grey``."""

    engine: FakeEngine
    grey: int
    info = FakeEngine().info

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = self.engine(batch)
        dark = batch.mean(axis=(1, 2, 3)) < self.grey
        return np.where(dark[:, None], np.roll(logits, 1, axis=1), logits)


def classifier(engine: Any) -> Classifier:
    return Classifier(tiny_bundle().card, tiny_bundle().labels, engine)


def gate_of(labelled: bool, **changes: Any) -> AccuracyGate:
    """An image of each class, half of which ``Shifted(grey=128)`` gets wrong."""
    engine = FakeEngine()
    items = [Item(str(k), engine.image(k), k if labelled else None) for k in range(10)]
    return replace(AccuracyGate(classifier(engine), "greys", items, 0.4, 0.6), **changes)


def compared(gate: AccuracyGate) -> GateReport:
    report = follow(run_gate(gate, classifier(Shifted(FakeEngine(), 128))))
    assert isinstance(report, GateReport)
    return report


def test_labelled_images_are_judged_by_what_is_lost() -> None:
    report = compared(gate_of(labelled=True))
    assert (report.kind, report.n, report.top1_reference, report.top1, report.drop) == ("accuracy", 10, 1.0, 0.5, 0.5)
    assert (report.limit, report.passed, report.agreement) == (0.4, False, 0.5)
    assert compared(gate_of(labelled=True, drop=0.5)).passed
    assert compared(gate_of(labelled=True, drop=None)).passed


def test_unlabelled_images_are_judged_by_agreement_alone() -> None:
    report = compared(gate_of(labelled=False))
    assert (report.kind, report.agreement, report.limit, report.passed) == ("agreement", 0.5, 0.6, False)
    assert (report.top1_reference, report.top1, report.drop, report.interval95, report.p_value) == (None,) * 5
    assert compared(gate_of(labelled=False, agreement=0.5)).passed


def test_the_references_answers_can_be_known_beforehand() -> None:
    gate = gate_of(labelled=True)
    logits = follow(compute_reference_logits(gate))
    assert logits.shape == (10, 10)
    engine = FakeEngine()
    again = compared(replace(gate, reference_logits=logits, reference=classifier(engine)))
    assert again == compared(gate)
    assert engine.calls == [], "it is not asked again"


def test_answers_known_beforehand_stay_with_their_images_when_one_cannot_be_read() -> None:
    gate = gate_of(labelled=True)
    broken = replace(gate, items=[*gate.items[:3], Item("torn", b"no image", 0), *gate.items[3:]])
    report = compared(replace(broken, reference_logits=follow(compute_reference_logits(broken))))
    assert (report.n, report.failures, report.top1_reference) == (10, 1, 1.0)


def test_a_gate_without_a_readable_image_is_an_error() -> None:
    with pytest.raises(DataError, match="no image that could be read"):
        compared(gate_of(labelled=True, items=[Item("torn", b"no image", 0)]))


def test_deviation_is_a_share_of_the_spread() -> None:
    logits = np.array([[1, -1], [-1, 1]], np.float32)
    assert deviation(logits, logits + 0.5) == pytest.approx(0.5)
    assert deviation(10 * logits, 10 * logits + 5) == pytest.approx(0.5)


def test_labels_in_another_order_are_no_accuracy_to_lose() -> None:
    """By chance both are right alike, and any int8 would pass; with few images it is a warning on the report."""
    engine = FakeEngine()
    for count, refused in ((200, True), (9, False)):
        items = [Item(str(k), engine.image(k % 10), (k + 1) % 10) for k in range(count)]
        gate = gate_of(labelled=True, items=items)
        if refused:
            with pytest.raises(DataError, match="labels of greys are in another order"):
                compared(gate)
        else:
            assert "may be in another order" in compared(gate).warnings[0]
    assert compared(gate_of(labelled=True)).warnings == compared(gate_of(labelled=False)).warnings == ()
