"""Networks that begin with trained weights: which stages learn how fast, their batch norms, and a new head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wideresnet.architectures import Architecture
from wideresnet.models import create_model
from wideresnet.training.recipe import Recipe

HEAD_SPREAD = 1e-3                                 # of a new head's weights: it begins with no opinion


def stage_of(name: str) -> float:
    """The stage of a parameter or module: 0 for the stem, N for layerN, infinity for what follows the last."""
    first = name.partition(".")[0]
    if first.startswith("layer"):
        return int(first.removeprefix("layer"))
    return 0 if first in ("conv1", "bn1") else float("inf")


def rate_of(name: str, recipe: Recipe, stages: int) -> float:
    """The rate of a parameter as a share of the recipe's; ``stages`` is the number of the last layerN."""
    if name.startswith("fc."):
        return recipe.head_rate
    return float(recipe.stage_rate ** max(0, stages - stage_of(name)))


def freeze(model: nn.Module, recipe: Recipe) -> None:
    """Let the parameters of frozen stages have no gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(stage_of(name) >= recipe.frozen)


def training_mode(model: nn.Module, recipe: Recipe) -> None:
    """Training mode, except for batch norms that are to keep their statistics."""
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and (recipe.norms == "frozen" or stage_of(name) < recipe.frozen):
            module.eval()


def with_new_head(
    tensors: Mapping[str, NDArray[np.generic]], architecture: Architecture, seed: int
) -> dict[str, NDArray[np.generic]]:
    """``tensors`` of any number of classes for those of ``architecture``: a small random weight, a bias of 0."""
    drawn = np.random.default_rng(seed).standard_normal((architecture.classes, architecture.features))
    head: dict[str, NDArray[np.generic]] = {
        "fc.weight": (HEAD_SPREAD * drawn).astype(np.float32),
        "fc.bias": np.zeros(architecture.classes, np.float32),
    }
    return {key: head.get(key, tensors[key]) for key in architecture.tensors()}


@torch.no_grad()
def recalibrate_batch_norm(
    tensors: Mapping[str, NDArray[np.generic]], architecture: Architecture, batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    """The same function, with the statistics of ``batches`` (normalised [B, 3, S, S]) in its batch norms.

    The norms of a graph were folded: they have no statistics of their own left, and could not be trained on.
    """
    model = create_model(architecture).eval()
    model.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        assert isinstance(norm, nn.BatchNorm2d)
        seen[norm] += torch.stack((torch.ones(x.shape[1]) * x[:, 0].numel(), x.sum((0, 2, 3)), (x**2).sum((0, 2, 3))))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    for images in batches:
        model(images)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        count, total, squares = seen[norm]
        _restate(norm, total / count, (squares / count - (total / count) ** 2).clamp(min=0))
    return dict(model.state_dict())


def _restate(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Other statistics, and the weight and bias with which ``norm`` computes what it did."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - scale * norm.running_mean.double()
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + scale * mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
