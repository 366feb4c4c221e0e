"""The torch module of an architecture: WRN-n-k (the paper's Table 1), or an ImageNet network of torchvision's names."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import Architecture, Pool
from wideresnet.layers import Block
from wideresnet.models.blocks import ACTIVATIONS, Basic, BasicWide, Bottleneck, Modules, PostActivation, make_layer


class WideResNet(nn.Module):
    """Stem, stages of residual blocks, global pooling, linear; its state dict has ``architecture.tensors()``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture, self.activation = architecture, ACTIVATIONS[architecture.activation]
        layers = {layer.name: make_layer(layer) for layer in architecture.layers()}
        self.conv1, self.bn1 = layers["conv1"], layers.get("bn1")
        for stage in range(1, len(architecture.stages) + 1):
            shapes = (shape for shape in architecture.blocks() if shape.name.startswith(f"layer{stage}."))
            blocks = (make_block(architecture, shape, layers) for shape in shapes)
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.bn, self.pool, self.fc = layers.get("bn"), GlobalPool(architecture.pool), layers["fc"]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised float RGB [N, 3, S, S] -> logits [N, classes]."""
        x = self.conv1(x)
        if self.bn1 is not None:
            x = self.activation(self.bn1(x))
        if self.architecture.family == "imagenet":
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(1, len(self.architecture.stages) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        if self.bn is not None:
            x = self.activation(self.bn(x))
        return self.fc(self.pool(x))


class GlobalPool(nn.Module):
    """The mean or maximum of each channel, or the mean of both: [N, F, h, w] -> [N, F]."""

    def __init__(self, kind: Pool) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """[N, F, h, w] -> [N, F]."""
        match self.kind:
            case "avg":
                return x.mean((2, 3))
            case "max":
                return x.amax((2, 3))
            case "avgmax":
                return (x.mean((2, 3)) + x.amax((2, 3))) / 2


def make_block(architecture: Architecture, shape: Block, layers: Modules) -> nn.Module:
    """Make a residual block from its layers."""
    prefix, activation = f"{shape.name}.", ACTIVATIONS[architecture.activation]
    of_block = {name.removeprefix(prefix): layer for name, layer in layers.items() if name.startswith(prefix)}
    match architecture.block:
        case "preact":
            return BasicWide(shape, of_block, activation, architecture.dropout)
        case "postact":
            return PostActivation(shape, of_block, activation, architecture.dropout)
        case "basic":
            return Basic(shape, of_block, activation)
        case "bottleneck":
            return Bottleneck(shape, of_block, activation)
