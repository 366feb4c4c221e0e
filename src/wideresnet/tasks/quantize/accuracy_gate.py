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
from wideresnet.logits import divergence, largest
from wideresnet.machine import available_cpus
from wideresnet.records import (
    Batch,
    EngineInfo,
    EvalReport,
    Failure,
    GateReport,
    Item,
    Progress,
    mcnemar,
    paired_interval,
)
from wideresnet.tasks.evaluate.evaluate import score_logits
from wideresnet.tasks.evaluate.label_order import check_label_order, with_order_warning
from wideresnet.tasks.evaluate.metrics import EvaluationAccumulator

BATCH = 64


@dataclass
class PairedCounts:
    """Counts over images that both models answered."""

    n: int = 0
    failures: int = 0
    top1_reference: int = 0
    top1: int = 0
    top5_reference: int = 0
    top5: int = 0
    only_reference_correct: int = 0
    only_candidate_correct: int = 0
    agreements: int = 0                            # same likeliest class, correct or not
    kl: float = 0.0                                # sum of the divergences, nats

    def add(self, reference: NDArray[np.float32], candidate: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Add a batch: logits [N, C] of both models, class indices [N] (-1: unknown)."""
        top_reference, top_candidate = largest(reference, 5), largest(candidate, 5)
        correct_reference, correct_candidate = top_reference[:, 0] == labels, top_candidate[:, 0] == labels
        self.n += len(labels)
        self.top1_reference += int(correct_reference.sum())
        self.top1 += int(correct_candidate.sum())
        self.top5_reference += int((top_reference == labels[:, None]).sum())
        self.top5 += int((top_candidate == labels[:, None]).sum())
        self.only_reference_correct += int((correct_reference & ~correct_candidate).sum())
        self.only_candidate_correct += int((~correct_reference & correct_candidate).sum())
        self.agreements += int((top_reference[:, 0] == top_candidate[:, 0]).sum())
        self.kl += float(divergence(reference, candidate).sum())


@dataclass(frozen=True, eq=False)
class AccuracyGate:
    """The images and limits that compiled models must pass, with their float32 ``reference``.

    The gate is one of accuracy if all ``items`` are labelled, else of agreement. ``drop`` is the largest accepted loss
    of top-1 and ``agreement`` the smallest accepted fraction of equal answers; None: no limit. ``reference_logits``
    are those of the readable items, where they are already computed. ``unread`` collects failures by path.
    """

    reference: Classifier
    data: str
    items: Sequence[Item]
    drop: float | None
    agreement: float | None
    reference_logits: NDArray[np.float32] | None = None
    unread: dict[str, Failure] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["accuracy", "agreement"]:
        """The kind of gate that the labels allow."""
        return "agreement" if any(item.label is None for item in self.items) else "accuracy"

    def batches(self) -> Iterator[Batch]:
        """Yield the preprocessed items."""
        spec = self.reference.card.preprocess
        for batch in load_batches(self.items, spec, batch_size=BATCH, threads=available_cpus(), exif="ignore"):
            self.unread.update((failure.path, failure) for failure in batch.failures)
            yield batch


def compute_reference_logits(gate: AccuracyGate) -> Generator[Progress, None, NDArray[np.float32]]:
    """Return the reference's logits [N, C] for all items that can be read."""
    logits, done = [], 0
    for batch in gate.batches():
        logits.append(gate.reference.logits(batch.pixels))
        done += len(batch.items) + len(batch.failures)
        yield Progress("answers of fp32", done, len(gate.items))
    return np.concatenate(logits)


def run_gate(gate: AccuracyGate, candidate: Classifier) -> Generator[Progress, None, GateReport]:
    """Compare ``candidate`` with the reference in one pass over the images.

    Raises DataError if no image could be read, and if the labels are in another order than the classes: both models
    are then correct by chance only, so that no loss could show.
    """
    counts, evaluation = PairedCounts(), EvaluationAccumulator()
    for batch in gate.batches():
        labels = np.array([-1 if item.label is None else item.label for item in batch.items], np.int64)
        counts.failures += len(batch.failures)
        if len(labels):
            if gate.reference_logits is None:
                reference = gate.reference.logits(batch.pixels)
            else:
                reference = gate.reference_logits[counts.n : counts.n + len(labels)]
            counts.add(reference, candidate.logits(batch.pixels), labels)
            if gate.kind == "accuracy":
                for scored in score_logits(batch.items, reference, range(reference.shape[1])):
                    evaluation.add(scored)
        yield Progress("comparing with fp32", counts.n + counts.failures, len(gate.items))
    if not counts.n:
        raise DataError(f"{gate.data} holds no image that could be read", hint="a gate needs images")
    accuracy = evaluation.report(EvalReport(gate.reference.card.name, gate.data, None, 0, 0, 0))
    check_label_order(accuracy, gate.reference.labels)
    warnings = with_order_warning(accuracy, gate.reference.labels).warnings
    return replace(gate_report(counts, gate, candidate.engine.info), warnings=warnings)


def gate_report(counts: PairedCounts, gate: AccuracyGate, engine: EngineInfo) -> GateReport:
    """Return the counts as fractions, with the verdict of the gate."""
    n, labelled = counts.n, gate.kind == "accuracy"
    lost, gained = counts.only_reference_correct, counts.only_candidate_correct
    report = GateReport(
        data=gate.data,
        n=n,
        failures=counts.failures,
        top1_reference=counts.top1_reference / n if labelled else None,
        top1=counts.top1 / n if labelled else None,
        top5_reference=counts.top5_reference / n if labelled else None,
        top5=counts.top5 / n if labelled else None,
        drop=(lost - gained) / n if labelled else None,
        interval95=paired_interval(lost, gained, n) if labelled else None,
        p_value=mcnemar(lost, gained) if labelled else None,
        agreement=counts.agreements / n,
        mean_kl=counts.kl / n,
        limit=None,
        passed=True,
        engine=engine,
        kind=gate.kind,
    )
    return apply_limit(report, gate)


def apply_limit(report: GateReport, gate: AccuracyGate) -> GateReport:
    """Return the same figures with the verdict by the limits of ``gate``."""
    if report.drop is None:
        limit = gate.agreement
        passed = limit is None or report.agreement >= limit
    else:
        limit = gate.drop
        passed = limit is None or report.drop <= limit
    return replace(report, limit=limit, passed=passed)
