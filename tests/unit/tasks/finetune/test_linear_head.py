"""The head is the minimum of what it says it minimises, and its strength is chosen by what it did not learn from."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wideresnet.records import PathPoint, follow
from wideresnet.tasks.finetune import linear_head
from wideresnet.tasks.finetune.linear_head import FOLDS, SINGLE_FOLD_IMAGES, Head, Samples, assign_folds, fit_head

STRENGTHS = tuple(10.0**k for k in range(1, -5, -1))


def samples(n: int = 60, classes: int = 3, views: int = 1, noise: float = 1.0) -> Samples:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    features = rng.standard_normal((classes, 8))[labels][:, None] + noise * rng.standard_normal((n, views, 8))
    scales = np.array([1, 5, 0.5, 1, 30, 1, 1, 1])
    return Samples((scales * features + 3).astype(np.float32), labels)


def finished(fit: Generator[PathPoint, None, Head]) -> tuple[Head, list[PathPoint]]:
    points: list[PathPoint] = []
    return follow(fit, points.append), points


def logits(head: Head, data: Samples) -> np.ndarray:
    return data.features[:, 0] @ head.weight.T + head.bias


def accuracy(head: Head, data: Samples) -> float:
    return float((logits(head, data).argmax(1) == data.labels).mean())


def test_the_head_is_what_autograd_finds_too() -> None:
    """The folded head is the minimum of cross-entropy + l2/2 · |w|² in standardised features."""
    data, l2 = samples(views=2), 0.03
    head, path = finished(fit_head(data, 3, [l2], balanced=False))
    assert path == []
    x = torch.from_numpy(data.features.reshape(-1, 8)).double()
    centre, spread = x.mean(0), x.std(0, correction=0)
    parameters = torch.zeros(3, 9, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    targets = torch.from_numpy(data.labels.repeat(2))

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        z = (x - centre) / spread
        value = F.cross_entropy(z @ parameters[:, :8].T + parameters[:, 8], targets)
        value = value + l2 / 2 * (parameters[:, :8] ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    weight = parameters[:, :8].detach() / spread
    np.testing.assert_allclose(head.weight, weight.numpy(), atol=2e-4 / spread.min().item())
    expected = x @ weight.T + (parameters[:, 8].detach() - weight @ centre)
    np.testing.assert_allclose(x.float().numpy() @ head.weight.T + head.bias, expected.numpy(), atol=5e-3)


def test_the_strength_of_least_loss_on_held_out_images_is_taken_and_weaker_ones_are_not_tried_for_long() -> None:
    data = samples(noise=3.0)
    head, path = finished(fit_head(data, 3, STRENGTHS))
    assert [point.l2 for point in path] == sorted((point.l2 for point in path), reverse=True)
    assert {point.n for point in path} == {60}
    best = min(path, key=lambda point: point.loss)
    assert path.index(best) >= len(path) - 3
    assert len(path) < len(STRENGTHS)
    alone, _ = finished(fit_head(data, 3, [best.l2]))
    np.testing.assert_allclose(head.weight, alone.weight, atol=1e-3)


def test_of_equal_losses_the_strength_that_the_path_shows_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that the tolerance leaves as it is has the same loss with a weaker strength, to the last bit."""
    fitted: list[float] = []

    def fit(problem: linear_head._Problem, l2: float, *rest: Any, **more: Any) -> np.ndarray:
        fitted.append(l2)
        return original(problem, l2, *rest, **more)

    original = linear_head._fit
    monkeypatch.setattr(linear_head, "_fit", fit)
    head, path = finished(fit_head(samples(15, noise=0.5), 3, (1e-2, 1e-8, 1e-9)))
    assert path[1].loss == path[2].loss < path[0].loss
    assert fitted[-1] == 1e-8
    assert head.path == tuple(path)


def test_it_tells_classes_apart_that_can_be_told_apart() -> None:
    head, path = finished(fit_head(samples(15, noise=0.1), 3, STRENGTHS))
    assert accuracy(head, samples(noise=0.1)) == 1.0
    assert path[-1].correct == path[-1].n == 15


def test_classes_count_the_same_however_few_images_they_have() -> None:
    data = samples(400, 2, noise=4.0)
    rows = np.flatnonzero((data.labels == 0) | (np.arange(400) % 40 == 1))
    rare = Samples(data.features[rows], data.labels[rows])
    answers = {
        balanced: logits(finished(fit_head(rare, 2, [0.1], balanced=balanced))[0], data).argmax(1)
        for balanced in (True, False)
    }
    assert answers[False].mean() < 0.2 < answers[True].mean()


def test_a_feature_that_hardly_moved_does_not_decide_when_it_does() -> None:
    data = samples()
    dead = np.concatenate((data.features, np.zeros((60, 1, 2), np.float32)), 2)
    dead[7, 0, 9] = 1e-4                           # of class 1
    head, _ = finished(fit_head(Samples(dead, data.labels), 3, [0.01]))
    assert np.isfinite(head.weight).all()
    assert np.abs(head.weight[:, 8]).max() == 0.0
    assert np.abs(head.weight[:, 9]).max() < 0.1


def test_every_class_is_in_every_fold_as_often_and_a_lone_image_is_always_learnt_from() -> None:
    labels = np.array([0] * 20 + [1] * 7 + [2])
    folds = assign_folds(labels, 0)
    assert np.bincount(folds[labels == 0]).tolist() == [4] * FOLDS
    assert set(np.bincount(folds[labels == 1], minlength=FOLDS).tolist()) == {1, 2}
    assert folds[-1] == -1
    assert not np.array_equal(folds, assign_folds(labels, 1))


def test_of_many_images_one_fold_judges() -> None:
    _, path = finished(fit_head(samples(SINGLE_FOLD_IMAGES + 10, 2), 2, STRENGTHS[:2]))
    assert {point.n for point in path} == {(SINGLE_FOLD_IMAGES + 10) // FOLDS}


@pytest.mark.parametrize("classes", [2, 60])
def test_one_image_a_class_leaves_nothing_to_choose_by(classes: int) -> None:
    data = samples(classes, classes, noise=0.0)
    head, path = finished(fit_head(data, classes, STRENGTHS))
    assert path == []
    assert accuracy(head, data) == 1.0


def test_the_order_of_images_does_not_matter_beyond_folds() -> None:
    data = samples()
    turned = replace(data, features=data.features[::-1], labels=data.labels[::-1])
    first, second = (finished(fit_head(ordered, 3, [0.1]))[0] for ordered in (data, turned))
    np.testing.assert_allclose(first.weight, second.weight, atol=1e-3)
