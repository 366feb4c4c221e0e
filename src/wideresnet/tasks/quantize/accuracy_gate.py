"""Two models on the same images: what one loses against the other, and how sure that is."""

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
from wideresnet.tasks.evaluate.label_order import refuse_wrong_order, with_order_warning
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
    lost: int = 0                                  # only the reference was right
    gained: int = 0                                # only the other was
    same: int = 0                                  # both named the same class, right or wrong
    kl: float = 0.0

    def add(self, reference: NDArray[np.float32], other: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Logits [N, C] of both models, class indices [N] (-1: unknown)."""
        right = labels[:, None]
        first, second = largest(reference, 5), largest(other, 5)
        hit_first, hit_second = first[:, 0] == labels, second[:, 0] == labels
        self.n += len(labels)
        self.top1_reference += int(hit_first.sum())
        self.top1 += int(hit_second.sum())
        self.top5_reference += int((first == right).sum())
        self.top5 += int((second == right).sum())
        self.lost += int((hit_first & ~hit_second).sum())
        self.gained += int((~hit_first & hit_second).sum())
        self.same += int((first[:, 0] == second[:, 0]).sum())
        self.kl += float(divergence(reference, other).sum())


@dataclass(frozen=True, eq=False)
class AccuracyGate:
    """What compiled models are held against: ``reference``'s answers to ``items``.

    All items are labelled, or none is counted as such: the kind of gate follows. ``drop`` is the top-1 that may be
    lost, ``agreement`` the share of same answers demanded where there are no labels, both as fractions; None: no
    gate. ``answers`` are the reference's logits for the items that can be read, where they are known already;
    ``unread`` gathers by path the items that could not be.
    """

    reference: Classifier
    data: str
    items: Sequence[Item]
    drop: float | None
    agreement: float | None
    answers: NDArray[np.float32] | None = None
    unread: dict[str, Failure] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["accuracy", "agreement"]:
        """Without labels only agreement can be told."""
        return "agreement" if any(item.label is None for item in self.items) else "accuracy"

    def batches(self) -> Iterator[Batch]:
        """The items as the networks see them."""
        spec = self.reference.card.preprocess
        for batch in load_batches(self.items, spec, batch_size=BATCH, threads=available_cpus(), exif="ignore"):
            self.unread.update((each.path, each) for each in batch.failures)
            yield batch


def answers(judge: AccuracyGate) -> Generator[Progress, None, NDArray[np.float32]]:
    """The reference's logits [N, C] for all items that can be read."""
    found, done = [], 0
    for batch in judge.batches():
        found.append(judge.reference.logits(batch.pixels))
        done += len(batch.items) + len(batch.failures)
        yield Progress("answers of fp32", done, len(judge.items))
    return np.concatenate(found)


def compare(judge: AccuracyGate, other: Classifier) -> Generator[Progress, None, GateReport]:
    """Both models over the same images in one pass.

    Raises DataError when no image could be read, and where their labels are in another order than the classes: both
    models are then right by chance, and nothing can be lost.
    """
    counts, tally = PairedCounts(), EvaluationAccumulator()
    for batch in judge.batches():
        labels = np.array([-1 if item.label is None else item.label for item in batch.items], np.int64)
        counts.failures += len(batch.failures)
        if len(labels):
            known = judge.answers
            first = judge.reference.logits(batch.pixels) if known is None else known[counts.n : counts.n + len(labels)]
            counts.add(first, other.logits(batch.pixels), labels)
            for scored in score_logits(batch.items, first, range(first.shape[1])) if judge.kind == "accuracy" else ():
                tally.add(scored)
        yield Progress("comparing with fp32", counts.n + counts.failures, len(judge.items))
    if not counts.n:
        raise DataError(f"{judge.data} holds no image that could be read", hint="a gate needs images")
    scores = tally.report(EvalReport(judge.reference.card.name, judge.data, None, 0, 0, 0))
    refuse_wrong_order(scores, judge.reference.labels)
    warnings = with_order_warning(scores, judge.reference.labels).warnings
    return replace(report_of(counts, judge, other.engine.info), warnings=warnings)


def report_of(counts: PairedCounts, judge: AccuracyGate, engine: EngineInfo) -> GateReport:
    """The counts as shares, and what the gate says of them."""
    n, labelled = counts.n, judge.kind == "accuracy"
    drop = (counts.lost - counts.gained) / n
    report = GateReport(
        data=judge.data,
        n=n,
        failures=counts.failures,
        top1_reference=counts.top1_reference / n if labelled else None,
        top1=counts.top1 / n if labelled else None,
        top5_reference=counts.top5_reference / n if labelled else None,
        top5=counts.top5 / n if labelled else None,
        drop=drop if labelled else None,
        interval95=paired_interval(counts.lost, counts.gained, n) if labelled else None,
        p_value=mcnemar(counts.lost, counts.gained) if labelled else None,
        agreement=counts.same / n,
        mean_kl=counts.kl / n,
        limit=None,
        passed=True,
        engine=engine,
        kind=judge.kind,
    )
    return judged(report, judge)


def judged(report: GateReport, judge: AccuracyGate) -> GateReport:
    """The same figures, held to the limits of ``judge``."""
    if report.drop is None:
        limit = judge.agreement
        passed = limit is None or report.agreement >= limit
    else:
        limit = judge.drop
        passed = limit is None or report.drop <= limit
    return replace(report, limit=limit, passed=passed)
