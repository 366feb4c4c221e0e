"""Architectures of the family as lists of layers; parameters and MACs follow by arithmetic, without torch.

Two families:

- ``cifar``: WRN-n-k of the paper for 32×32 images (pre-activation, block B(3,3), n = 6·N + 4);
- ``imagenet``: post-activation networks in torchvision's naming: the bottleneck ``wide_resnet50_2`` and
  ``wide_resnet101_2`` with two smaller ones, and the paper's basic-block WRN-18-k and WRN-34-k (Table 7, stem 64
  wide).

A network is a list of convolutions, batch norms and one linear layer. ``Architecture.layers()`` lists them
in state-dict order; counts, key names, the ONNX graph and the checks on weights files follow from that list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from wideresnet.errors import ConfigError, UnknownNameError, did_you_mean

Family = Literal["cifar", "imagenet"]
BlockKind = Literal["preact", "basic", "bottleneck"]


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, kernel × kernel, padding kernel // 2.

    ``reduction`` is the total stride from the image to this layer's output: its map has sides of
    ceil(image side / reduction) pixels.
    """

    name: str
    c_in: int
    c_out: int
    kernel: int
    stride: int
    reduction: int


@dataclass(frozen=True)
class Norm:
    """A batch normalisation over ``channels``; ``reduction`` as in ``Conv``."""

    name: str
    channels: int
    reduction: int


@dataclass(frozen=True)
class Linear:
    """The classifier: [N, c_in] -> [N, c_out], with bias."""

    name: str
    c_in: int
    c_out: int


Layer = Conv | Norm | Linear


@dataclass(frozen=True)
class Block:
    """One residual block: its position, its widths, and whether its shortcut is a 1×1 projection."""

    name: str
    c_in: int
    inner: int
    c_out: int
    stride: int
    reduction: int                                 # of its output
    project: bool


@dataclass(frozen=True)
class Architecture:
    """One network, made by ``get_architecture`` or the functions below.

    ``dropout`` is the probability between the two convolutions of a pre-activation block; it adds no
    parameter and does nothing outside training. ``input_size`` is the side the network was designed for, pixels.
    """

    name: str
    family: Family
    block: BlockKind
    depth: int
    widen: float                                   # k of WRN-n-k
    stages: tuple[int, ...]                        # blocks in each stage
    stem: int                                      # channels after the first convolution
    inner: int                                     # channels inside a block of the first stage
    out: int                                       # channels out of a block of the first stage
    classes: int
    input_size: int
    dropout: float = 0.0

    @property
    def features(self) -> int:
        """Number of channels that enter the classifier."""
        return self.out << (len(self.stages) - 1)      # widths double from stage to stage

    def blocks(self) -> Iterator[Block]:
        """The residual blocks in order; widths double from stage to stage while the side halves."""
        c_in, reduction = self.stem, 1 if self.family == "cifar" else 4
        for stage, count in enumerate(self.stages):
            for index in range(count):
                stride = 2 if index == 0 and stage > 0 else 1
                reduction *= stride
                inner, c_out = self.inner * 2**stage, self.out * 2**stage
                project = c_in != c_out or stride != 1
                yield Block(f"layer{stage + 1}.{index}", c_in, inner, c_out, stride, reduction, project)
                c_in = c_out

    def layers(self) -> Iterator[Layer]:
        """Return all layers that hold tensors, in state-dict order."""
        if self.family == "cifar":
            yield Conv("conv1", 3, self.stem, 3, 1, 1)
        else:
            yield Conv("conv1", 3, self.stem, 7, 2, 2)
            yield Norm("bn1", self.stem, 2)
        for block in self.blocks():
            yield from BLOCK_LAYERS[self.block](block)
        if self.family == "cifar":
            yield Norm("bn", self.features, 4)
        yield Linear("fc", self.features, self.classes)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """State-dict key -> shape, in torchvision's order; ``num_batches_tracked`` has shape ()."""
        return {key: shape for layer in self.layers() for key, shape in _layer_tensors(layer).items()}

    def parameters(self) -> int:
        """Number of trained parameters; the running statistics are not among them."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(math.prod(shape) for key, shape in self.tensors().items() if not key.endswith(statistics))

    def macs(self, size: int | None = None) -> int:
        """Return the multiply-accumulates of convolutions and classifier for an image of ``size`` × ``size`` pixels."""
        return sum(self.layer_macs(size).values())

    def layer_macs(self, size: int | None = None) -> dict[str, int]:
        """Return the multiply-accumulates of each convolution and the classifier, by name."""
        layers = (layer for layer in self.layers() if not isinstance(layer, Norm))
        return {layer.name: _layer_macs(layer, size or self.input_size) for layer in layers}

    def thop_macs(self, size: int | None = None) -> int:
        """Return the count of the tool thop: ``macs`` + 4 × elements that pass a batch norm (the zoo's table)."""
        size = size or self.input_size
        norms = (layer for layer in self.layers() if isinstance(layer, Norm))
        return self.macs(size) + 4 * sum(n.channels * math.ceil(size / n.reduction) ** 2 for n in norms)


def get_architecture(name: str, classes: int | None = None, dropout: float | None = None) -> Architecture:
    """Return the architecture called ``name``, with another number of classes or dropout if given.

    Knows every key of ``ARCHITECTURES``, and any ``wrn_N_K`` with N = 6·n + 4 (also written ``WRN-N-K``).
    Raises ConfigError for an unknown name and for an impossible depth, class count or dropout.
    """
    if classes is not None and classes < 1:
        raise ConfigError(f"a classifier needs at least one class, got {classes}")
    if dropout is not None and not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    key = normalise_name(name)
    architecture = ARCHITECTURES.get(key) or _parse_wrn(key)
    if architecture is None:
        hint = f"{did_you_mean(key, ARCHITECTURES)} 'wrn models' lists all, and any wrn_N_K works".strip()
        raise UnknownNameError(f"no architecture called {name!r}", hint=hint)
    if dropout and architecture.block != "preact":
        raise ConfigError(
            f"{key} has no dropout: only the paper's WRN-n-k for 32×32 has a place for it",
            hint="leave dropout out, or use a wrn_N_K",
        )
    return replace(
        architecture,
        classes=architecture.classes if classes is None else classes,
        dropout=architecture.dropout if dropout is None else dropout,
    )


def normalise_name(name: str) -> str:
    """Return ``wrn_28_10`` for ``WRN-28-10`` and ``wrn-28-10``."""
    return name.strip().lower().replace("-", "_")


def wrn(depth: int, widen: int, classes: int = 10, dropout: float = 0.0) -> Architecture:
    """Return WRN-depth-widen for 32×32 images (paper Table 1). ``wrn(28, 10)`` has 36,479,194 parameters.

    Raises ConfigError unless depth = 6·n + 4 with n ≥ 1, and widen ≥ 1.
    """
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        below = max(10, 6 * blocks + 4)
        raise ConfigError(
            f"the depth of a WRN must be 6n + 4, got {depth}", hint=f"nearest: {below} or {below + 6}"
        )
    if widen < 1:
        raise ConfigError(f"the widening factor of a WRN must be at least 1, got {widen}")
    return Architecture(
        name=f"wrn_{depth}_{widen}", family="cifar", block="preact", depth=depth, widen=widen,
        stages=(blocks,) * 3, stem=16, inner=16 * widen, out=16 * widen,
        classes=classes, input_size=32, dropout=dropout,
    )  # fmt: skip


def wide_resnet(depth: Literal[14, 26, 50, 101], widen: int = 2) -> Architecture:
    """Return a bottleneck network whose inner 3×3 is ``widen`` times ResNet's: ``wide_resnet50_2`` has 68,883,240.

    Depths 14 and 26 (one and two blocks a stage) are not published; they can be trained on small machines.
    """
    stages = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    return Architecture(
        name=f"wide_resnet{depth}_{widen}", family="imagenet", block="bottleneck", depth=depth, widen=widen,
        stages=stages, stem=64, inner=64 * widen, out=256, classes=1000, input_size=224,
    )  # fmt: skip


def wrn_imagenet(depth: Literal[18, 34], widen: float) -> Architecture:
    """Return a basic-block ImageNet network (paper Table 7): every stage ``widen`` times wider, a stem of 64."""
    stages = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    width = round(64 * widen)
    return Architecture(
        name=f"wrn_imagenet_{depth}_{f'{widen:g}'.replace('.', '_')}", family="imagenet", block="basic",
        depth=depth, widen=widen, stages=stages, stem=64, inner=width, out=width, classes=1000, input_size=224,
    )  # fmt: skip


def _preact_layers(block: Block) -> Iterator[Layer]:
    """BN, 3×3, BN, 3×3 (paper Figure 1c and d); the 1×1 shortcut, where there is one, has no BN."""
    name, before = block.name, block.reduction // block.stride
    yield Norm(f"{name}.bn1", block.c_in, before)
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 3, block.stride, block.reduction)
    yield Norm(f"{name}.bn2", block.inner, block.reduction)
    yield Conv(f"{name}.conv2", block.inner, block.c_out, 3, 1, block.reduction)
    if block.project:
        yield Conv(f"{name}.shortcut", block.c_in, block.c_out, 1, block.stride, block.reduction)


def _basic_layers(block: Block) -> Iterator[Layer]:
    """3×3, BN, 3×3, BN; shortcut 1×1 and BN (torchvision's BasicBlock)."""
    name, reduction = block.name, block.reduction
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 3, block.stride, reduction)
    yield Norm(f"{name}.bn1", block.inner, reduction)
    yield Conv(f"{name}.conv2", block.inner, block.c_out, 3, 1, reduction)
    yield Norm(f"{name}.bn2", block.c_out, reduction)
    yield from _downsample(block)


def _bottleneck_layers(block: Block) -> Iterator[Layer]:
    """1×1, 3×3 that carries the stride, 1×1, each with BN (torchvision's Bottleneck, "v1.5")."""
    name, before, after = block.name, block.reduction // block.stride, block.reduction
    yield Conv(f"{name}.conv1", block.c_in, block.inner, 1, 1, before)
    yield Norm(f"{name}.bn1", block.inner, before)
    yield Conv(f"{name}.conv2", block.inner, block.inner, 3, block.stride, after)
    yield Norm(f"{name}.bn2", block.inner, after)
    yield Conv(f"{name}.conv3", block.inner, block.c_out, 1, 1, after)
    yield Norm(f"{name}.bn3", block.c_out, after)
    yield from _downsample(block)


def _downsample(block: Block) -> Iterator[Layer]:
    if block.project:
        yield Conv(f"{block.name}.downsample.0", block.c_in, block.c_out, 1, block.stride, block.reduction)
        yield Norm(f"{block.name}.downsample.1", block.c_out, block.reduction)


BLOCK_LAYERS: dict[BlockKind, Callable[[Block], Iterator[Layer]]] = {
    "preact": _preact_layers,
    "basic": _basic_layers,
    "bottleneck": _bottleneck_layers,
}


def _layer_tensors(layer: Layer) -> dict[str, tuple[int, ...]]:
    match layer:
        case Conv():
            return {f"{layer.name}.weight": (layer.c_out, layer.c_in, layer.kernel, layer.kernel)}
        case Norm():
            vectors = ("weight", "bias", "running_mean", "running_var")
            shapes: dict[str, tuple[int, ...]] = {f"{layer.name}.{v}": (layer.channels,) for v in vectors}
            return {**shapes, f"{layer.name}.num_batches_tracked": ()}
        case Linear():
            return {f"{layer.name}.weight": (layer.c_out, layer.c_in), f"{layer.name}.bias": (layer.c_out,)}


def _layer_macs(layer: Conv | Linear, size: int) -> int:
    match layer:
        case Conv():
            return layer.c_in * layer.c_out * layer.kernel**2 * math.ceil(size / layer.reduction) ** 2
        case Linear():
            return layer.c_in * layer.c_out


def _parse_wrn(key: str) -> Architecture | None:
    match = re.fullmatch(r"wrn_(\d+)_(\d+)", key)
    return wrn(int(match[1]), int(match[2])) if match else None


_PAPER_CIFAR = (
    (16, 1), (16, 2), (16, 4), (16, 8), (16, 10), (22, 8), (22, 10), (28, 2), (28, 10), (28, 12),
    (40, 1), (40, 2), (40, 4), (40, 8), (40, 10), (52, 1),
)  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        *(wide_resnet(depth) for depth in (14, 26, 50, 101)),
        *(wrn_imagenet(18, widen) for widen in (1, 1.5, 2, 3)),
        *(wrn_imagenet(34, widen) for widen in (1, 1.5, 2)),
        *(wrn(depth, widen) for depth, widen in _PAPER_CIFAR),
    )
}
