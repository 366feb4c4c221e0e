"""Two models on the same pictures: what one loses against the other, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.data.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.images.top_k import largest, softmax
from wideresnet.machine import available_cpus
from wideresnet.records import GateReport


@dataclass
class PairedCounts:
    """Counts over pictures that both models answered."""

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
        """Logits [N, C] of both models, class indices [N]."""
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
        p, q = softmax(reference), softmax(other)
        tiny = np.finfo(np.float64).tiny
        self.kl += float((p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum())


def compare(
    reference: Classifier, other: Classifier, data: LabelledData, limit: float | None, batch_size: int = 64
) -> Iterator[int | GateReport]:
    """Both models over ``data`` in one pass; yields the pictures done after each batch, at last the report.

    ``limit`` is the top-1 that may be lost, as a fraction. Raises DataError when no picture could be read.
    """
    counts = PairedCounts()
    batches = load_batches(
        data.items, reference.card.preprocess, batch_size=batch_size, threads=available_cpus(), exif="ignore"
    )
    for batch in batches:
        labels = np.array([item.label for item in batch.items], np.int64)
        counts.failures += len(batch.failures)
        if len(labels):
            counts.add(reference.logits(batch.pixels), other.logits(batch.pixels), labels)
        yield counts.n + counts.failures
    if not counts.n:
        raise DataError(f"{data.name} holds no picture that could be read", hint="a gate needs labelled pictures")
    yield report_of(counts, data.name, limit, other)


def report_of(counts: PairedCounts, data: str, limit: float | None, other: Classifier) -> GateReport:
    """The counts as shares."""
    n = counts.n
    drop = (counts.lost - counts.gained) / n
    return GateReport(
        data=data,
        n=n,
        failures=counts.failures,
        top1_reference=counts.top1_reference / n,
        top1=counts.top1 / n,
        top5_reference=counts.top5_reference / n,
        top5=counts.top5 / n,
        drop=drop,
        interval95=paired_interval(counts.lost, counts.gained, n),
        p_value=mcnemar(counts.lost, counts.gained),
        agreement=counts.same / n,
        mean_kl=counts.kl / n,
        limit=limit,
        passed=limit is None or drop <= limit,
        engine=other.engine.info,
    )


def paired_interval(lost: int, gained: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """95 % interval of (lost - gained) / n for paired shares: Wald's after adding 1/2 to each of the four cells.

    Agresti and Min, Statistics in Medicine 24 (2005), 729.
    """
    a, b, total = lost + 0.5, gained + 0.5, n + 2
    centre = (a - b) / total
    half = z * math.sqrt(a + b - (a - b) ** 2 / total) / total
    return centre - half, centre + half


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p of McNemar's test: how odd the split is if either model were as good as the other."""
    flips, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(flips, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**flips))
