"""The residual blocks of the paper's Figure 1 (arXiv 1605.07146), and one of the same layers in another order.

    (a) Basic        3×3 ─ 3×3                    post-activation, as in torchvision's ResNets
    (b) Bottleneck   1×1 ─ 3×3 ─ 1×1              post-activation; its 3×3 is the wide one
    (c) BasicWide    3×3 ─ 3×3, k times wider     pre-activation, the CIFAR networks
    (d)              3×3 ─ dropout ─ 3×3          (c) with a ``dropout`` above 0 between the convolutions
    PostActivation   3×3 ─ 3×3, k times wider     the variant "postact" of (c)

Every block: float [N, c_in, H, W] -> [N, c_out, ceil(H / stride), ceil(W / stride)]. ``layers`` are its layers by
their names in the block, ``activation`` is ReLU in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import LEAKY_SLOPE
from wideresnet.layers import Block, Conv, Layer, Linear, Norm

Modules = Mapping[str, nn.Module]
Function = Callable[[Tensor], Tensor]
# In place where backward needs only the output; neither batch norm nor addition needs its own.
ACTIVATIONS: dict[str, Function] = {
    "relu": partial(F.relu, inplace=True),
    "leaky_relu": partial(F.leaky_relu, negative_slope=LEAKY_SLOPE, inplace=True),
    "silu": F.silu,
}


class Basic(nn.Module):
    """Figure 1 (a): conv-BN-activation-conv-BN, plus a shortcut, then activation."""

    def __init__(self, _shape: Block, layers: Modules, activation: Function) -> None:
        super().__init__()
        self.activation = activation
        self.conv1, self.bn1, self.conv2, self.bn2 = (layers[name] for name in ("conv1", "bn1", "conv2", "bn2"))
        self.downsample = downsample(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.activation(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Figure 1 (b): 1×1 down, 3×3, 1×1 up, each with BN; the 3×3 carries the stride (torchvision's v1.5)."""

    def __init__(self, _shape: Block, layers: Modules, activation: Function) -> None:
        super().__init__()
        self.activation = activation
        self.conv1, self.bn1 = layers["conv1"], layers["bn1"]
        self.conv2, self.bn2 = layers["conv2"], layers["bn2"]
        self.conv3, self.bn3 = layers["conv3"], layers["bn3"]
        self.downsample = downsample(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.activation(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.activation(y + (x if self.downsample is None else self.downsample(x)))


class BasicWide(nn.Module):
    """Figure 1 (c): BN-activation-conv twice, plus a shortcut; nothing after the sum."""

    def __init__(self, shape: Block, layers: Modules, activation: Function, dropout: float) -> None:
        super().__init__()
        self.shape, self.activation = shape, activation
        self.bn1, self.conv1, self.bn2 = layers["bn1"], layers["conv1"], layers["bn2"]
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2, self.shortcut = layers["conv2"], layers.get("shortcut")

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        activated = self.activation(self.bn1(x)) if self.shape.activated_input else x
        # In the paper's block the 1×1 shortcut reads the activated input, and the identity is of the raw one.
        shortcut = activated if self.shape.activated_shortcut else x
        shortcut = shortcut if self.shortcut is None else self.shortcut(shortcut)
        y = self.activation(self.bn2(self.conv1(activated)))
        z: Tensor = self.conv2(self.dropout(y))
        return shortcut + z


class PostActivation(nn.Module):
    """conv-BN-activation-conv, plus a shortcut, then BN and activation."""

    def __init__(self, _shape: Block, layers: Modules, activation: Function, dropout: float) -> None:
        super().__init__()
        self.activation = activation
        self.conv1, self.bn1 = layers["conv1"], layers["bn1"]
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2, self.bn2, self.shortcut = layers["conv2"], layers["bn2"], layers.get("shortcut")

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        y = self.conv2(self.dropout(self.activation(self.bn1(self.conv1(x)))))
        return self.activation(self.bn2(y + (x if self.shortcut is None else self.shortcut(x))))


class SameConv(nn.Conv2d):
    """A convolution with the padding of ``layer``, which depends on the side of the map."""

    def __init__(self, layer: Conv) -> None:
        super().__init__(layer.c_in, layer.c_out, layer.kernel, layer.stride, bias=layer.bias)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, ceil(H / stride), ceil(W / stride)]."""
        return super().forward(F.pad(x, (*self.layer.pads(x.shape[3]), *self.layer.pads(x.shape[2]))))


def make_layer(layer: Layer) -> nn.Module:
    """Make the torch module of a layer, with torch's initial values."""
    match layer:
        case Conv(padding="same"):
            return SameConv(layer)
        case Conv():
            return nn.Conv2d(layer.c_in, layer.c_out, layer.kernel, layer.stride, layer.kernel // 2, bias=layer.bias)
        case Norm():
            return nn.BatchNorm2d(layer.channels, layer.epsilon)
        case Linear():
            return nn.Linear(layer.c_in, layer.c_out)


def downsample(layers: Modules) -> nn.Sequential | None:
    """Join the 1×1 convolution and BN of the shortcut; None if the shortcut is the identity."""
    if "downsample.0" not in layers:
        return None
    return nn.Sequential(layers["downsample.0"], layers["downsample.1"])
