"""Training from pretrained weights: learning rate per stage, frozen stages, batch norm statistics, a new head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wideresnet.architectures import Architecture
from wideresnet.models import create_model
from wideresnet.training.recipe import Recipe

HEAD_STD = 1e-3                                    # of a new head's weights: all classes start nearly equal


def stage_of(name: str) -> float:
    """Return the stage of a parameter or module: 0 for the stem, N for layerN, infinity after the last layer."""
    first = name.partition(".")[0]
    if first.startswith("layer"):
        return int(first.removeprefix("layer"))
    return 0 if first in ("conv1", "bn1") else float("inf")


def rate_factor(name: str, recipe: Recipe, stages: int) -> float:
    """Return the rate of a parameter as a fraction of the recipe's; ``stages`` is the number of the last layerN."""
    if name.startswith("fc."):
        return recipe.head_rate
    return float(recipe.stage_rate ** max(0, stages - stage_of(name)))


def freeze(model: nn.Module, recipe: Recipe) -> None:
    """Disable the gradients of the frozen stages' parameters."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(stage_of(name) >= recipe.frozen)


def training_mode(model: nn.Module, recipe: Recipe) -> None:
    """Switch to training mode, except for batch norms with frozen statistics."""
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and (recipe.norms == "frozen" or stage_of(name) < recipe.frozen):
            module.eval()


def with_new_head(
    tensors: Mapping[str, NDArray[np.generic]], architecture: Architecture, seed: int
) -> dict[str, NDArray[np.generic]]:
    """Replace the classifier in ``tensors`` by one for ``architecture``: small random weights, zero bias."""
    normal = np.random.default_rng(seed).standard_normal((architecture.classes, architecture.features))
    head: dict[str, NDArray[np.generic]] = {
        "fc.weight": (HEAD_STD * normal).astype(np.float32),
        "fc.bias": np.zeros(architecture.classes, np.float32),
    }
    return {key: head.get(key, tensors[key]) for key in architecture.tensors()}


@torch.no_grad()
def recalibrate_batch_norm(
    tensors: Mapping[str, NDArray[np.generic]], architecture: Architecture, batches: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Give batch norms the statistics of ``batches`` (normalised [B, 3, S, S]) without changing the network's output.

    The weights of a graph have their batch norms folded, with mean 0 and variance 1: the network could not be trained
    from them with statistics of its batches. Weight and bias of each norm compensate for the new statistics.
    """
    model = create_model(architecture).eval()
    model.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def add_to_sums(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        assert isinstance(norm, nn.BatchNorm2d)
        sums[norm] += torch.stack((torch.ones(x.shape[1]) * x[:, 0].numel(), x.sum((0, 2, 3)), (x**2).sum((0, 2, 3))))

    hooks = [norm.register_forward_pre_hook(add_to_sums) for norm in norms]
    for images in batches:
        model(images)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        if not sums[norm].any():
            continue                               # idle
        count, total, squares = sums[norm]
        _set_statistics(norm, total / count, (squares / count - (total / count) ** 2).clamp(min=0))
    return dict(model.state_dict())


def _set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set the running statistics, and change weight and bias so that ``norm`` computes the same function."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - scale * norm.running_mean.double()
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + scale * mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
