"""Accuracy gate: a compiled model compared with its float32 reference on the same images."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.logits import divergence
from wideresnet.records import Batch, EngineInfo, EvalReport, Failure, GateReport, Item, Progress, Scored, Skipped
from wideresnet.records.comparison import ComparisonReport, paired_interval
from wideresnet.tasks.evaluate.comparison import compare_pairs
from wideresnet.tasks.evaluate.evaluate import score_logits
from wideresnet.tasks.evaluate.label_order import check_label_order, with_order_warning

BATCH = 64


@dataclass(frozen=True, eq=False)
class AccuracyGate:
    """The images and limits that compiled models must pass, with their float32 ``reference``.

    The gate is one of accuracy if all ``items`` are labelled, else of agreement. ``drop`` is the largest accepted loss
    of top-1 and ``agreement`` the smallest accepted fraction of equal answers; None: no limit. ``reference_logits``
    are those of the readable items, where they are already computed. ``unread`` collects failures by path. ``notes``
    are on ``items``; ``skipped`` are the files beside them.
    """

    reference: Classifier
    data: str
    items: Sequence[Item]
    drop: float | None
    agreement: float | None
    reference_logits: NDArray[np.float32] | None = None
    unread: dict[str, Failure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def kind(self) -> Literal["accuracy", "agreement"]:
        """The kind of gate that the labels allow."""
        return "agreement" if any(item.label is None for item in self.items) else "accuracy"

    def batches(self) -> Iterator[Batch]:
        """Yield the preprocessed items."""
        for batch in load_batches(self.items, self.reference.card.preprocess, batch_size=BATCH):
            self.unread.update((failure.path, failure) for failure in batch.failures)
            yield batch


def compute_reference_logits(gate: AccuracyGate) -> Generator[Progress, None, NDArray[np.float32]]:
    """Return the reference's logits [N, C] for all items that can be read."""
    logits, done = [], 0
    for batch in gate.batches():
        logits.append(gate.reference.logits(batch.pixels))
        done += len(batch.items) + len(batch.failures)
        yield Progress("answers of f32", done, len(gate.items))
    return np.concatenate(logits)


def run_gate(gate: AccuracyGate, candidate: Classifier) -> Generator[Progress, None, GateReport]:
    """Compare ``candidate`` with the reference in one pass over the images.

    Raises DataError if no image could be read, and if the labels are in another order than the classes: both models
    are then correct by chance only, so that a loss would not be seen.
    """
    pairs, kl, failures = list[tuple[Scored, Scored]](), 0.0, 0
    for batch in gate.batches():
        failures += len(batch.failures)
        if batch.items:
            saved, end = gate.reference_logits, len(pairs) + len(batch.items)
            reference = gate.reference.logits(batch.pixels) if saved is None else saved[len(pairs) : end]
            logits = candidate.logits(batch.pixels)
            items = [replace(item, label=item.label or 0) for item in batch.items]    # without labels no class counts
            scores = (score_logits(items, values, range(values.shape[1])) for values in (reference, logits))
            pairs += zip(*scores, strict=True)
            kl += float(divergence(reference, logits).sum())
        yield Progress("comparing with f32", len(pairs) + failures, len(gate.items))
    if not pairs:
        raise DataError(f"{gate.data} holds no image that could be read", hint="give readable images with --data")
    blank = EvalReport(gate.reference.card.name, gate.data, None, 0, 0, 0)
    return gate_report(compare_pairs(pairs, (blank, blank)), gate, candidate.engine.info, failures, kl / len(pairs))


def gate_report(
    comparison: ComparisonReport, gate: AccuracyGate, engine: EngineInfo, failures: int, mean_kl: float
) -> GateReport:
    """Return a comparison of the reference (A) with a model (B), with the verdict of the gate. Raises DataError."""
    report = GateReport(
        data=gate.data, n=comparison.n, failures=failures, top1_reference=None, top1=None, top5_reference=None,
        top5=None, drop=None, interval95=None, p_value=None, agreement=comparison.agreement, mean_kl=mean_kl,
        limit=None, passed=True, engine=engine, kind=gate.kind,
    )  # fmt: skip
    if gate.kind == "accuracy":
        a, b, n = comparison.a, comparison.b, comparison.n
        check_label_order(a, gate.reference.labels)
        lost, gained = comparison.only_a_correct, comparison.only_b_correct
        report = replace(
            report, top1_reference=a.top1, top1=b.top1, top5_reference=a.top5, top5=b.top5, drop=(lost - gained) / n,
            interval95=paired_interval(lost, gained, n), p_value=comparison.p_value, flips=lost + gained,
            warnings=with_order_warning(a, gate.reference.labels).warnings,
        )  # fmt: skip
    return apply_limit(report, gate)


def apply_limit(report: GateReport, gate: AccuracyGate) -> GateReport:
    """Return the same figures with the verdict by the limits of ``gate``."""
    report = replace(report, limit=gate.agreement if report.drop is None else gate.drop)
    return replace(report, passed=report.verdict != "failed")
