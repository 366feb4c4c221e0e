"""Create a network by name, with fresh weights; a state dict as torch's file."""

from __future__ import annotations

import io

import torch
from torch import nn

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.models.blocks import Basic, BasicWide, Bottleneck, PostActivation
from wideresnet.models.network import WideResNet

_LAST_LAYERS: dict[type, str] = {Basic: "bn2", Bottleneck: "bn3", BasicWide: "conv2", PostActivation: "conv2"}


def create_model(name: str | Architecture, num_classes: int | None = None, dropout: float | None = None) -> nn.Module:
    """Create a torch module of the named architecture with fresh weights, in training mode.

    The state dicts of ImageNet networks have torchvision's and timm's keys in the same order. ``dropout`` is for
    WRN-n-k only. Raises ConfigError for an unknown name or impossible numbers.
    """
    initialise(model := WideResNet(get_architecture(name, num_classes, dropout)))
    return model


def initialise(model: nn.Module) -> None:
    """Initialise convolutions by He's normal by fan-out (the author's MSRinit), BN to 1 and 0, biases to 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def zero_branches(model: nn.Module) -> None:
    """Make every residual branch begin as zero, so that a block begins as its shortcut.

    The weights of its last layer become 0: of the batch norm, as in Goyal et al. (arXiv 1706.02677, section 5.1), or
    of the convolution in blocks that end with one, where a zero before the last ReLU would have no gradient.
    """
    for block in model.modules():
        if type(block) in _LAST_LAYERS:
            nn.init.zeros_(block.get_parameter(f"{_LAST_LAYERS[type(block)]}.weight"))


def state_dict_bytes(tensors: dict[str, object]) -> bytes:
    """Return the file that ``torch.save`` writes of NumPy arrays by name, as tensors."""
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, file := io.BytesIO())
    return file.getvalue()
