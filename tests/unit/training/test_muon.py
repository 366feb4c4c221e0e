"""Muon: the direction of torch's own, by a given angle, at a constant norm."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from wideresnet.errors import ConfigError
from wideresnet.training.loop import make_optimiser, prepare
from wideresnet.training.muon import Muon, orthogonalise
from wideresnet.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(architecture="wrn_10_1", epochs=1, batch_size=16, learning_rate=0.1, muon_rate=0.02)


def kernel(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.to(memory_format=torch.channels_last).requires_grad_()


def optimiser(*parameters: Tensor, rate: float = 0.02, **settings: Any) -> Muon:
    group = {"params": list(parameters), "turns": True, "weight_decay": 0.0, **settings}
    return Muon([group], rate, 0.9, torch.float32)


def gradients(steps: int, *shape: int) -> list[Tensor]:
    return [kernel(*shape, seed=10 + step).detach() for step in range(steps)]


def test_singular_values_come_close_to_one() -> None:
    matrices = torch.randn(5, 16, 144, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.65
    assert values.max() < 1.25
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (orthogonalise(matrices) - u @ v).square().mean().sqrt() < 0.3 * (u @ v).square().mean().sqrt()


def test_a_tall_matrix_is_treated_like_its_transpose() -> None:
    matrices = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonalise(matrices), orthogonalise(matrices.mT).mT)


@pytest.mark.parametrize("shape", [(16, 32, 3, 3), (64, 16, 1, 1), (16, 3, 3, 3)])
def test_weights_turn_by_the_rate_and_keep_their_norm(shape: tuple[int, ...]) -> None:
    weights = kernel(*shape)
    before = weights.detach().clone()
    weights.grad = gradients(1, *shape)[0]
    optimiser(weights, rate=0.02).step()
    assert weights.grad is None
    assert weights.norm().item() == pytest.approx(before.norm().item(), rel=1e-6)
    # A tangent step of 0.02 is a turn of at most that; the part along the weights themselves turns nothing.
    cosine = (weights * before).sum() / weights.norm() / before.norm()
    assert 0.015 < math.acos(cosine.item()) < 0.0205


def test_steps_go_where_those_of_torch_go() -> None:
    """Independent computation: ``torch.optim.Muon`` on the same gradients, as matrices (a 1×1 kernel is one)."""
    ours, theirs = kernel(12, 40, 1, 1), torch.nn.Parameter(kernel(12, 40, 1, 1).detach().flatten(1).clone())
    mine = Muon([{"params": [ours], "turns": True}], 0.02, 0.9, torch.bfloat16)
    torchs = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, momentum=0.9, nesterov=True)
    for gradient in gradients(4, 12, 40, 1, 1):
        start = ours.detach().clone()
        with torch.no_grad():
            theirs.copy_(start.flatten(1))
        ours.grad, theirs.grad = gradient.clone(), gradient.flatten(1).clone()
        mine.step()
        torchs.step()
        step = theirs.detach() - start.flatten(1)
        expected = start.flatten(1) + step * (0.02 * start.norm() / step.norm())
        expected *= start.norm() / expected.norm()
        # bfloat16 has 8 bits, and the iteration adds up their errors; a step is 0.02 of the weights.
        difference = (ours.detach().flatten(1) - expected).norm() / start.norm()
        assert difference < 0.05 * 0.02


def test_weights_of_zero_or_without_a_gradient_stay() -> None:
    still, no_gradient, zero = kernel(8, 8, 3, 3), kernel(8, 8, 3, 3), torch.zeros(8, 8, 3, 3, requires_grad=True)
    before = still.detach().clone()
    zero = zero.detach().to(memory_format=torch.channels_last).requires_grad_()
    still.grad, zero.grad = torch.zeros_like(still), gradients(1, 8, 8, 3, 3)[0]
    optimiser(still, no_gradient, zero).step()
    torch.testing.assert_close(still.detach(), before)
    torch.testing.assert_close(no_gradient.detach(), before)
    assert not zero.any()


def test_a_recipe_turns_convolutions_and_leaves_the_rest_to_sgd() -> None:
    trainer = prepare(RECIPE, 10)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    turned = {names[id(p)]: g["share"] for g in trainer.optimiser.param_groups if g.get("turns") for p in g["params"]}
    assert turned.keys() == {name for name, p in trainer.model.named_parameters() if p.ndim == 4}
    assert list(turned.values()) == pytest.approx([0.2] * len(turned))
    others = [g["share"] for g in trainer.optimiser.param_groups if not g.get("turns")]
    assert others == [1.0, 1.0]


def test_without_a_trained_convolution_it_is_refused() -> None:
    assert prepare(RECIPE.model_copy(update={"frozen": 3}), 10)
    with pytest.raises(ConfigError, match="frozen = 4 leaves muon_rate no convolution"):
        prepare(RECIPE.model_copy(update={"frozen": 4}), 10)


@pytest.mark.parametrize(("precision", "dtype"), [("f32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_arithmetic_is_in_the_precision_of_the_recipe(precision: str, dtype: torch.dtype) -> None:
    optimiser = make_optimiser(RECIPE.model_copy(update={"precision": precision}), prepare(RECIPE, 10).model)
    assert isinstance(optimiser, Muon)
    assert optimiser.dtype == dtype
