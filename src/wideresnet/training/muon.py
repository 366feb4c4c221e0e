"""Muon: Nesterov SGD that orthogonalises the updates of convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Five steps of x ↦ Ax + Bx³ + Cx⁵ take singular values of 0.003 to 1 to 0.7 to 1.2 (Jordan et al., "Muon: An
# optimizer for hidden layers in neural networks", 2024, kellerjordan.github.io/posts/muon).
STEPS = 5
A, B, C = 3.4445, -4.7750, 2.0315
TINY = 1e-12                                       # instead of a norm of zero


class Muon(torch.optim.SGD):
    """SGD that turns the convolutions' weights [O, I, H, W], in groups with ``"turns": True``, by a given angle.

    The weights, as a matrix of one row per output channel, move along the orthogonal matrix nearest to their momentum,
    and keep their norm: the rate is the angle of a step in radians, whatever the size of the gradient. The norm has no
    effect on the output of a convolution with batch norm behind it, and weight decay has none on a constant norm. That
    the norm is constant comes from the authors' networks for CIFAR-10 (github.com/KellerJordan/cifar10-airbench).
    The other groups are updated by SGD. ``dtype`` is that of the orthogonalisation.
    """

    def __init__(self, groups: list[dict[str, Any]], rate: float, momentum: float, dtype: torch.dtype) -> None:
        super().__init__(groups, rate, momentum, nesterov=momentum > 0, foreach=True)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient. Convolutions have none (None) afterwards."""
        for group in self.param_groups:
            convolutions = [weights for weights in group["params"] if group.get("turns") and weights.grad is not None]
            if convolutions:
                updates = self._momentum(convolutions, group["momentum"])
                turn([as_matrix(weights) for weights in convolutions], self._directions(updates), group["lr"])
        super().step()

    def _momentum(self, convolutions: list[Tensor], momentum: float) -> list[Tensor]:
        """Take the gradients, add them to the momentum, and return Nesterov's updates as matrices."""
        gradients = [w.grad.contiguous(memory_format=torch.channels_last) for w in convolutions if w.grad is not None]
        for weights in convolutions:
            weights.grad = None
            if "momentum_buffer" not in self.state[weights]:
                self.state[weights]["momentum_buffer"] = torch.zeros_like(weights)
        buffers = [self.state[weights]["momentum_buffer"] for weights in convolutions]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        return [as_matrix(update) for update in torch._foreach_add(gradients, buffers, alpha=momentum)]

    def _directions(self, updates: list[Tensor]) -> list[Tensor]:
        """Orthogonalise ``updates``, those of one shape together."""
        directions = list(updates)
        for shape in dict.fromkeys(update.shape for update in updates):
            indices = [index for index, update in enumerate(updates) if update.shape == shape]
            stacked = torch.stack([updates[index] for index in indices])
            for index, direction in zip(indices, orthogonalise(stacked.to(self.dtype)).float(), strict=True):
                directions[index] = direction
        return directions


def turn(matrices: list[Tensor], directions: list[Tensor], angle: float) -> None:
    """Move each matrix in place by ``angle`` times its norm against its direction, and restore its norm."""
    norms, lengths = torch._foreach_norm(matrices), torch._foreach_norm(directions)
    scales = torch._foreach_div(norms, torch._foreach_clamp_min(lengths, TINY))
    torch._foreach_sub_(matrices, torch._foreach_mul(torch._foreach_mul(directions, scales), angle))
    lengths = torch._foreach_clamp_min(torch._foreach_norm(matrices), TINY)
    torch._foreach_mul_(matrices, torch._foreach_div(norms, lengths))


def as_matrix(weights: Tensor) -> Tensor:
    """View weights [O, I, H, W], channels-last, as a matrix [O, H·W·I]."""
    return weights.permute(0, 2, 3, 1).view(len(weights), -1)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return approximately the nearest matrices with orthonormal rows or columns, whichever are fewer.

    ``matrices`` is [N, R, C] in any float dtype, which the result and the arithmetic have. Singular values below about
    0.3 % of a matrix's norm stay smaller than 0.7.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalise(matrices.mT).mT
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True).clamp_min(TINY))
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x
