"""Create a network by name, with fresh weights; a state dict as torch's file."""

from __future__ import annotations

import io

import torch
from torch import nn

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.models.network import WideResNet


def create_model(name: str | Architecture, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """Create a torch module of the named architecture with fresh weights, in training mode.

    The state dicts of ImageNet networks have torchvision's and timm's keys in the same order. ``dropout`` is for
    WRN-n-k only. Raises ConfigError for an unknown name or impossible numbers.
    """
    model = WideResNet(get_architecture(name, num_classes, dropout) if isinstance(name, str) else name)
    initialise(model)
    return model


def initialise(model: nn.Module) -> None:
    """Initialise convolutions by He's normal by fan-out (the author's MSRinit), BN to 1 and 0, biases to 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def state_dict_bytes(tensors: dict[str, object]) -> bytes:
    """Return the file that ``torch.save`` writes of NumPy arrays by name, as tensors."""
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, file := io.BytesIO())
    return file.getvalue()
