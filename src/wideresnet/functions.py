"""The functions of the package that do the work of a command: thin calls of the same tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wideresnet.errors import needs_extra

if TYPE_CHECKING:
    from torch import nn

    from wideresnet.architectures import Architecture


def create_model(name: str | Architecture, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """Create a torch module of the named architecture with fresh weights, in training mode (extra "train").

    It takes normalised float32 [N, 3, S, S] and returns logits [N, C]. The state dicts of ImageNet networks have
    torchvision's and timm's keys in the same order. ``num_classes`` None: as usual for the architecture. ``dropout``
    (a fraction) is for WRN-n-k only. Raises ConfigError for an unknown name or impossible numbers.
    """
    with needs_extra("create_model", "train"):
        from wideresnet.models.create import create_model as create
    return create(name, num_classes, dropout)
