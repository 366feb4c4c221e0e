"""The four residual blocks of the paper's Figure 1 (arXiv 1605.07146).

    (a) Basic        3×3 ─ 3×3                    post-activation, as in torchvision's ResNets
    (b) Bottleneck   1×1 ─ 3×3 ─ 1×1              post-activation; its 3×3 is the wide one
    (c) BasicWide    3×3 ─ 3×3, k times wider     pre-activation, the CIFAR networks
    (d) wide_dropout 3×3 ─ dropout ─ 3×3          (c) with dropout between the convolutions

Every block: float [N, c_in, H, W] -> [N, c_out, ceil(H / stride), ceil(W / stride)].
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.layers import Block


class Basic(nn.Module):
    """Figure 1 (a): conv-BN-ReLU-conv-BN, plus a shortcut, then ReLU."""

    def __init__(self, shape: Block) -> None:
        super().__init__()
        self.conv1 = conv3x3(shape.c_in, shape.inner, shape.stride)
        self.bn1 = nn.BatchNorm2d(shape.inner)
        self.conv2 = conv3x3(shape.inner, shape.c_out)
        self.bn2 = nn.BatchNorm2d(shape.c_out)
        self.downsample = downsample(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """Figure 1 (b): 1×1 down, 3×3, 1×1 up, each with BN; the 3×3 carries the stride (torchvision's v1.5)."""

    def __init__(self, shape: Block) -> None:
        super().__init__()
        self.conv1 = conv1x1(shape.c_in, shape.inner)
        self.bn1 = nn.BatchNorm2d(shape.inner)
        self.conv2 = conv3x3(shape.inner, shape.inner, shape.stride)
        self.bn2 = nn.BatchNorm2d(shape.inner)
        self.conv3 = conv1x1(shape.inner, shape.c_out)
        self.bn3 = nn.BatchNorm2d(shape.c_out)
        self.downsample = downsample(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        y = relu(self.bn1(self.conv1(x)))
        y = relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicWide(nn.Module):
    """Figure 1 (c): BN-ReLU-conv twice, plus a shortcut; nothing after the sum."""

    def __init__(self, shape: Block) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(shape.c_in)
        self.conv1 = conv3x3(shape.c_in, shape.inner, shape.stride)
        self.bn2 = nn.BatchNorm2d(shape.inner)
        self.dropout: nn.Module = nn.Identity()
        self.conv2 = conv3x3(shape.inner, shape.c_out)
        self.shortcut = conv1x1(shape.c_in, shape.c_out, shape.stride) if shape.project else None

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, c_in, H, W] -> [N, c_out, H / stride, W / stride]."""
        activated = relu(self.bn1(x))
        # A block that changes width projects the activated input; the others add x unchanged.
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(activated)
        y = relu(self.bn2(self.conv1(activated)))
        z: Tensor = self.conv2(self.dropout(y))
        return shortcut + z


def wide_dropout(shape: Block, probability: float) -> BasicWide:
    """Make Figure 1 (d): (c) with dropout after the second ReLU; it has no parameter, and no effect in eval mode."""
    block = BasicWide(shape)
    block.dropout = nn.Dropout(probability)
    return block


def relu(x: Tensor) -> Tensor:
    """Apply ReLU in place; safe because neither batch norm nor addition needs its output in backward."""
    return F.relu(x, inplace=True)


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Make a 3×3 convolution with padding 1, without bias (a batch norm follows or precedes it)."""
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)


def conv1x1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Make a 1×1 convolution without bias."""
    return nn.Conv2d(c_in, c_out, 1, stride, bias=False)


def downsample(shape: Block) -> nn.Sequential | None:
    """Make a 1×1 convolution and BN if a block changes width or resolution, else None."""
    if not shape.project:
        return None
    return nn.Sequential(conv1x1(shape.c_in, shape.c_out, shape.stride), nn.BatchNorm2d(shape.c_out))
