"""Architectures of the family as lists of layers; parameters and MACs follow by arithmetic, without torch.

Two families:

- ``cifar``: WRN-n-k of the paper for 32×32 images (pre-activation, block B(3,3), n = 6·N + 4);
- ``imagenet``: post-activation networks in torchvision's naming: the bottleneck ``wide_resnet50_2`` and
  ``wide_resnet101_2`` with two smaller ones, and the paper's basic-block WRN-18-k and WRN-34-k (Table 7, stem 64
  wide).

A network is a list of convolutions, batch norms and one linear layer. ``Architecture.layers()`` lists them
in state-dict order; counts, key names, the ONNX graph and the checks on weights files follow from that list.

Public code has networks of the same names that compute something else: another activation, shortcut or padding. These
are fields of ``Architecture`` too, its variant. The defaults are the paper's and torchvision's networks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from wideresnet.errors import ConfigError, UnknownNameError, did_you_mean
from wideresnet.layers import BLOCK_LAYERS, Block, BlockKind, Conv, Layer, Linear, Norm, Padding

Family = Literal["cifar", "imagenet"]
Activation = Literal["relu", "leaky_relu", "silu"]
Shortcut = Literal["activated", "raw", "always", "skip_norm"]
Pool = Literal["avg", "max", "avgmax"]
Variant = dict[str, str | float | bool]            # values of VARIANT_FIELDS
LEAKY_SLOPE = 0.1                                  # of leaky_relu


@dataclass(frozen=True)
class Architecture:
    """One network, made by ``get_architecture`` or the functions below.

    ``dropout`` is the probability between the two convolutions of a pre-activation block; it adds no
    parameter and does nothing outside training. ``input_size`` is the side the network was designed for, pixels.
    The fields after it are the variant, see ``with_variant``.

    ``block`` "postact": conv1-bn1-activation-conv2, plus the shortcut of the raw input, bn2, activation; a norm after
    the stem and none before the pooling. ``shortcut`` of pre-activation blocks:

    - "activated": a 1×1 shortcut reads the activated input; identity shortcuts add the raw input;
    - "raw": the 1×1 shortcut reads the raw input too;
    - "always": identity shortcuts add the activated input too;
    - "skip_norm": as "activated" in stage 1; in the first block of later stages conv1 and the shortcut read the raw
      input, and bn1 is idle.
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
    activation: Activation = "relu"
    bn_eps: float = 1e-5
    final_bn_eps: float | None = None              # of the last norm of a CIFAR network; None: bn_eps
    shortcut: Shortcut = "activated"
    stride_on: Literal["conv1", "conv2"] = "conv1"            # the 3×3 of a CIFAR block that carries the stride
    padding: Padding = "symmetric"                 # "same": a 3×3 at stride 2 pads as TensorFlow does
    pool: Pool = "avg"                             # before the classifier; "avgmax": (avg + max) / 2
    conv_bias: bool = False                        # all convolutions have one (CIFAR networks)
    project_first: bool = False                    # the first block of stage 1 projects at equal widths too

    @property
    def features(self) -> int:
        """Number of channels that enter the classifier."""
        return self.out << (len(self.stages) - 1)      # widths double from stage to stage

    def blocks(self) -> Iterator[Block]:
        """Return the residual blocks in order; widths double from stage to stage while the side halves."""
        c_in, reduction, preact = self.stem, 1 if self.family == "cifar" else 4, self.block == "preact"
        for stage, count in enumerate(self.stages):
            for index in range(count):
                stride = 2 if index == 0 and stage > 0 else 1
                reduction *= stride
                inner, c_out = self.inner * 2**stage, self.out * 2**stage
                project = c_in != c_out or stride != 1 or (self.project_first and stage == index == 0)
                conv1 = preact and not (self.shortcut == "skip_norm" and stage > 0 and project)
                shortcut = preact and (self.shortcut == "always" or (project and conv1 and self.shortcut != "raw"))
                name = f"layer{stage + 1}.{index}"
                yield Block(name, c_in, inner, c_out, stride, reduction, project, conv1, shortcut)
                c_in = c_out

    def layers(self) -> Iterator[Layer]:
        """Return all layers that hold tensors, in state-dict order."""
        last = self.bn_eps if self.final_bn_eps is None else self.final_bn_eps
        for layer in self._plain_layers():
            if isinstance(layer, Conv):
                layer = replace(layer, bias=self.conv_bias, padding=self.padding)
            elif isinstance(layer, Norm):
                layer = replace(layer, epsilon=last if layer.name == "bn" else self.bn_eps)
            yield layer

    def _plain_layers(self) -> Iterator[Layer]:
        """Return the layers with the defaults of bias, padding and epsilon."""
        kernel, stride = (3, 1) if self.family == "cifar" else (7, 2)
        yield Conv("conv1", 3, self.stem, kernel, stride, stride)
        if self.block != "preact":
            yield Norm("bn1", self.stem, stride, "conv1")
        for block in self.blocks():
            yield from BLOCK_LAYERS[self.block](block, block.stride if self.stride_on == "conv1" else 1)
        if self.block == "preact":
            yield Norm("bn", self.features, 4)
        yield Linear("fc", self.features, self.classes)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor by state-dict key, in torchvision's order; of ``num_batches_tracked`` ()."""
        return {key: shape for layer in self.layers() for key, shape in layer.tensors().items()}

    def parameters(self) -> int:
        """Return the number of trained parameters, without the running statistics."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(math.prod(shape) for key, shape in self.tensors().items() if not key.endswith(statistics))

    def macs(self, size: int | None = None) -> int:
        """Return the multiply-accumulates of convolutions and classifier for an image of ``size`` × ``size`` pixels."""
        return sum(self.layer_macs(size).values())

    def layer_macs(self, size: int | None = None) -> dict[str, int]:
        """Return the multiply-accumulates of each convolution and the classifier, by name."""
        layers = (layer for layer in self.layers() if not isinstance(layer, Norm))
        return {layer.name: layer.macs(size or self.input_size) for layer in layers}

    def thop_macs(self, size: int | None = None) -> int:
        """Return the count of the tool thop: ``macs`` + 4 × elements that pass a batch norm (the zoo's table)."""
        size = size or self.input_size
        norms = (layer for layer in self.layers() if isinstance(layer, Norm) and not layer.idle)
        return self.macs(size) + 4 * sum(n.channels * math.ceil(size / n.reduction) ** 2 for n in norms)

    def variant(self) -> Variant:
        """Return the variant: the fields that differ from the defaults, by name."""
        defaults = {field.name: field.default for field in fields(self)}
        defaults["block"] = self.block if self.family == "imagenet" else "preact"
        values = {name: getattr(self, name) for name in VARIANT_FIELDS}
        return {name: value for name, value in values.items() if value != defaults[name]}


def get_architecture(
    name: str | Architecture, classes: int | None = None, dropout: float | None = None
) -> Architecture:
    """Return the architecture called ``name``, or this one, with another number of classes or dropout if given.

    Knows every key of ``ARCHITECTURES``, and any ``wrn_N_K`` with N = 6·n + 4 (also written ``WRN-N-K``).
    Raises ConfigError for an unknown name and for an impossible depth, class count or dropout.
    """
    if classes is not None and classes < 1:
        raise ConfigError(f"a classifier needs at least one class, got {classes}")
    if dropout is not None and not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
    key = name.name if isinstance(name, Architecture) else normalise_name(name)
    architecture = name if isinstance(name, Architecture) else ARCHITECTURES.get(key) or _parse_wrn(key)
    if architecture is None:
        hint = f"{did_you_mean(key, ARCHITECTURES)} 'wrn models' lists all, and any wrn_N_K works".strip()
        raise UnknownNameError(f"no architecture called {name!r}", hint=hint)
    if dropout and architecture.family != "cifar":
        problem = f"{key} has no dropout: only the paper's WRN-n-k for 32×32 has a place for it"
        raise ConfigError(problem, hint="leave dropout out, or use a wrn_N_K")
    return replace(
        architecture,
        classes=architecture.classes if classes is None else classes,
        dropout=architecture.dropout if dropout is None else dropout,
    )


def with_variant(architecture: Architecture, variant: Mapping[str, object]) -> Architecture:
    """Return the architecture with the fields of ``variant`` changed; see ``Architecture``.

    Raises ConfigError for an unknown field, a value that it cannot have, and a field without effect on this network.
    """
    variant = {name: SYNONYMS.get(str(value), value) for name, value in variant.items()}
    effective = _fields_with_effect(architecture, variant)
    for name, value in variant.items():
        if name not in effective:
            problem = f"{name} has no effect on" if name in VARIANT_FIELDS else f"no variant field {name!r} of"
            raise ConfigError(f"{problem} {architecture.name}", hint=f"set any of {', '.join(effective)}")
        _check_field(name, value)
    values: dict[str, Any] = dict(variant)
    return replace(architecture, **values)


def _fields_with_effect(architecture: Architecture, variant: Mapping[str, object]) -> list[str]:
    """Return the fields of ``VARIANT_FIELDS`` that change what the network computes, once ``variant`` is set."""
    if architecture.family == "imagenet":
        return [*_IMAGENET_FIELDS]
    is_postact = "postact" in (architecture.block, variant.get("block"))
    return [name for name in VARIANT_FIELDS if not (is_postact and name in _PREACT_FIELDS)]


def _check_field(name: str, value: object) -> None:
    """Raise ConfigError for a value that the field cannot have. A switch takes True or False, not 1 or 0."""
    if choices := VARIANT_FIELDS[name]:
        is_valid = value in choices and isinstance(value, type(choices[0]))
        listed = f"one of {', '.join(map(str, choices))}"
    else:
        is_valid, listed = isinstance(value, float) and 0 < value <= 0.1, "a number above 0, at most 0.1"
    if not is_valid:
        raise ConfigError(f"{name} cannot be {value!r}", hint=f"set {name} to {listed}")


def describe_variant(variant: Variant) -> str:
    """Return a variant in words, as ``activation silu, padding same``; "none" for a default network."""
    return ", ".join(f"{name} {value}" for name, value in sorted(variant.items())) or "none"


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
        raise ConfigError(f"the depth of a WRN must be 6n + 4, got {depth}", hint=f"nearest: {below} or {below + 6}")
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


def _parse_wrn(key: str) -> Architecture | None:
    if match := re.fullmatch(r"wrn_(\d{1,4})_(\d{1,4})", key):
        return wrn(int(match[1]), int(match[2]))
    match = re.fullmatch(r"wide_resnet(14|26|50|101)_([2-9]|1\d)", key)
    return wide_resnet(int(match[1]), int(match[2])) if match else None     # type: ignore[arg-type]


# Fields of a variant and their values; an empty tuple: a number in (0, 0.1].
VARIANT_FIELDS: dict[str, tuple[str | bool, ...]] = {
    "block": ("preact", "postact"),
    "activation": get_args(Activation),
    "bn_eps": (),
    "final_bn_eps": (),
    "shortcut": get_args(Shortcut),
    "stride_on": ("conv1", "conv2"),
    "padding": get_args(Padding),
    "pool": get_args(Pool),
    "conv_bias": (False, True),
    "project_first": (False, True),
}
SYNONYMS = {"leaky_relu 0.1": "leaky_relu", "leaky_relu_0.1": "leaky_relu", "swish": "silu"}
_IMAGENET_FIELDS, _PREACT_FIELDS = ("activation", "bn_eps", "pool"), ("shortcut", "final_bn_eps")

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
