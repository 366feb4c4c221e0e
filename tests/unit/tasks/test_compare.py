"""Paired comparison: exact counts, McNemar's exact p, and an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest

from wideresnet.tasks.compare import PairedCounts, mcnemar, paired_interval


def test_counts_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200, 10)).astype(np.float32)
    second += 2 * first
    labels = rng.integers(0, 10, 200)
    counts = PairedCounts()
    for part in (slice(0, 64), slice(64, 200)):
        counts.add(first[part], second[part], labels[part])
    hits = [(a.argmax() == label, b.argmax() == label) for a, b, label in zip(first, second, labels, strict=True)]
    assert counts.n == 200
    assert counts.top1_reference == sum(a for a, _ in hits)
    assert counts.top1 == sum(b for _, b in hits)
    assert counts.lost == sum(a and not b for a, b in hits)
    assert counts.gained == sum(b and not a for a, b in hits)
    assert counts.same == (first.argmax(1) == second.argmax(1)).sum()
    top5 = [label in np.argsort(-row)[:5] for row, label in zip(first, labels, strict=True)]
    assert counts.top5_reference == sum(top5)


def test_equal_answers_have_no_divergence_and_other_answers_have() -> None:
    logits = np.random.default_rng(1).normal(size=(20, 10)).astype(np.float32)
    same, other = PairedCounts(), PairedCounts()
    same.add(logits, logits + 5, np.zeros(20, np.int64))
    other.add(logits, -logits, np.zeros(20, np.int64))
    assert same.kl == pytest.approx(0, abs=1e-6)
    assert other.kl > 1


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 7, 2 * 9 / 256), (10, 2, 2 * 79 / 4096)]
)
def test_mcnemars_p_is_the_binomials(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p)
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    cells = rng.multinomial(2000, [0.9, 0.03, 0.02, 0.05], size=2000)
    covered = [low <= 0.01 <= high for low, high in (paired_interval(c[1], c[2], 2000) for c in cells)]
    assert 0.93 < np.mean(covered) < 0.97
