"""Layers and residual blocks: their tensors and operations, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["preact", "postact", "basic", "bottleneck"]
Padding = Literal["symmetric", "same"]
NORM_VECTORS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Conv:
    """A convolution, kernel × kernel.

    ``reduction`` is the total stride from the image to this layer's output: its map has sides of
    ceil(image side / reduction) pixels.
    """

    name: str
    c_in: int
    c_out: int
    kernel: int
    stride: int
    reduction: int
    bias: bool = False
    padding: Padding = "symmetric"

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the layer's tensors by state-dict key."""
        bias = {f"{self.name}.bias": (self.c_out,)} if self.bias else {}
        return {f"{self.name}.weight": (self.c_out, self.c_in, self.kernel, self.kernel), **bias}

    def macs(self, size: int) -> int:
        """Return the multiply-accumulates for an image of ``size`` × ``size`` pixels."""
        return self.c_in * self.c_out * self.kernel**2 * math.ceil(size / self.reduction) ** 2

    def pads(self, side: int) -> tuple[int, int]:
        """Return the rows (and columns) of zeros before and after a map of ``side`` pixels."""
        if self.padding == "same" and self.stride > 1 and self.kernel > 1:
            return side % 2, 1                     # TensorFlow's for 3×3 at stride 2
        return self.kernel // 2, self.kernel // 2


@dataclass(frozen=True)
class Norm:
    """A batch normalisation over ``channels``; ``reduction`` as in ``Conv``.

    ``conv`` is the convolution whose output it alone reads, so that it can be folded into it; "" if there is none.
    An ``idle`` one has tensors and is not computed.
    """

    name: str
    channels: int
    reduction: int
    conv: str = ""
    idle: bool = False
    epsilon: float = 1e-5

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """See ``Conv``."""
        vectors = {f"{self.name}.{part}": (self.channels,) for part in NORM_VECTORS}
        return {**vectors, f"{self.name}.num_batches_tracked": ()}


@dataclass(frozen=True)
class Linear:
    """The classifier: [N, c_in] -> [N, c_out], with bias."""

    name: str
    c_in: int
    c_out: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """See ``Conv``."""
        return {f"{self.name}.weight": (self.c_out, self.c_in), f"{self.name}.bias": (self.c_out,)}

    def macs(self, _size: int) -> int:
        """See ``Conv``."""
        return self.c_in * self.c_out


Layer = Conv | Norm | Linear


@dataclass(frozen=True)
class Block:
    """One residual block: its position, its widths, and whether its shortcut is a 1×1 projection.

    In a pre-activation block with ``activated_input`` conv1 reads the input after bn1 and activation, otherwise the
    raw one; the same holds for ``activated_shortcut`` and the shortcut.
    """

    name: str
    c_in: int
    inner: int
    c_out: int
    stride: int
    reduction: int                                 # of its output
    project: bool
    activated_input: bool
    activated_shortcut: bool


def _preact_layers(block: Block, first_stride: int) -> Iterator[Layer]:
    """BN, 3×3, BN, 3×3 (paper Figure 1c and d); the 1×1 shortcut, where there is one, has no BN."""
    name, before = block.name, block.reduction // block.stride
    yield Norm(f"{name}.bn1", block.c_in, before, idle=not block.activated_input)
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 3, first_stride, before * first_stride)
    yield Norm(f"{name}.bn2", block.inner, before * first_stride, f"{name}.conv1")
    yield Conv(f"{name}.conv2", block.inner, block.c_out, 3, block.stride // first_stride, block.reduction)
    yield from _shortcut(block)


def _postact_layers(block: Block, first_stride: int) -> Iterator[Layer]:
    """3×3, BN, 3×3, BN; the second BN reads the sum with the shortcut, which has none of its own."""
    name, inner = block.name, block.reduction // block.stride * first_stride
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 3, first_stride, inner)
    yield Norm(f"{name}.bn1", block.inner, inner, f"{name}.conv1")
    yield Conv(f"{name}.conv2", block.inner, block.c_out, 3, block.stride // first_stride, block.reduction)
    yield Norm(f"{name}.bn2", block.c_out, block.reduction)
    yield from _shortcut(block)


def _shortcut(block: Block) -> Iterator[Layer]:
    if block.project:
        yield Conv(f"{block.name}.shortcut", block.c_in, block.c_out, 1, block.stride, block.reduction)


def _basic_layers(block: Block, _first_stride: int) -> Iterator[Layer]:
    """3×3, BN, 3×3, BN; shortcut 1×1 and BN (torchvision's BasicBlock)."""
    name, reduction = block.name, block.reduction
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 3, block.stride, reduction)
    yield Norm(f"{name}.bn1", block.inner, reduction, f"{name}.conv1")
    yield Conv(f"{name}.conv2", block.inner, block.c_out, 3, 1, reduction)
    yield Norm(f"{name}.bn2", block.c_out, reduction, f"{name}.conv2")
    yield from _downsample(block)


def _bottleneck_layers(block: Block, _first_stride: int) -> Iterator[Layer]:
    """1×1, 3×3 that carries the stride, 1×1, each with BN (torchvision's Bottleneck, "v1.5")."""
    name, before, after = block.name, block.reduction // block.stride, block.reduction
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 1, 1, before)
    yield Norm(f"{name}.bn1", block.inner, before, f"{name}.conv1")
    yield Conv(f"{name}.conv2", block.inner, block.inner, 3, block.stride, after)
    yield Norm(f"{name}.bn2", block.inner, after, f"{name}.conv2")
    yield Conv(f"{name}.conv3", block.inner, block.c_out, 1, 1, after)
    yield Norm(f"{name}.bn3", block.c_out, after, f"{name}.conv3")
    yield from _downsample(block)


def _downsample(block: Block) -> Iterator[Layer]:
    if block.project:
        name = f"{block.name}.downsample.0"
        yield Conv(name, block.c_in, block.c_out, 1, block.stride, block.reduction)
        yield Norm(f"{block.name}.downsample.1", block.c_out, block.reduction, name)


# The second argument is the stride of conv1 in the blocks of CIFAR networks.
BLOCK_LAYERS: dict[BlockKind, Callable[[Block, int], Iterator[Layer]]] = {
    "preact": _preact_layers,
    "postact": _postact_layers,
    "basic": _basic_layers,
    "bottleneck": _bottleneck_layers,
}
