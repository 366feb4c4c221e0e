"""Layers of a file -> the complete networks among them, by arithmetic: depth 6n + 4, widths 16k, 32k, 64k, …

Names only order layers and tell copies apart; what a layer is follows from its shape and from where it lies:

    blocks    the parts of the tree of names with two 3×3 convolutions (bottlenecks: one between two 1×1)
    families  blocks whose paths differ in numbers only; one that is a complete sequence of stages is a network
    rest      stem, norm before the pooling and classifier: the nearest layers of the right shape outside of blocks
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import groupby, pairwise
from typing import Final

from wideresnet.architectures import Architecture, get_architecture, with_variant
from wideresnet.errors import ConfigError
from wideresnet.weights.blocks import FORMS, Block, Form, Mismatch, block_paths, parse_block
from wideresnet.weights.modules import Module, Tokens, common_prefix, natural, words_of

HEADS: Final = {"fc", "linear", "classifier", "head", "logits", "output", "classification"}
AVERAGES: Final = {"ema", "averaged", "average", "swa"}
# Words of names of layers that lie beside a network and are not on its way from images to logits.
BESIDE: Final = {
    "aux", "auxiliary", "criterion", "loss", "teacher", "discriminator", "rot", "rotation", "proj", "projection",
    "projector", "queue", "memory", "metric", "metrics", "sub",
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A complete network of the family in a file, with the layers beside it that it does not use."""

    architecture: Architecture                     # without what shapes do not show
    layers: dict[str, Module]                      # "conv1", "layer1.0.bn1", …, "fc": as in Architecture.layers()
    scope: Tokens                                  # under which its names lie
    idle: dict[str, str] = field(default_factory=dict)         # name of a layer -> why it is not used

    @property
    def prefix(self) -> str:
        """The text, up to a full stop, with which all its names begin."""
        first, *_, last = sorted(layer.name for layer in self.layers.values())
        shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        return first[: first.rfind(".", 0, shared) + 1]

    @property
    def averaged(self) -> bool:
        """True if its names say that it is a moving average of weights."""
        return any(word in AVERAGES or word.endswith("ema") for word in words_of(self.scope))

    @property
    def headless(self) -> bool:
        """True if the file has no classifier for it."""
        return "fc" not in self.layers


def find_networks(modules: Sequence[Module], ordered: bool) -> tuple[list[Network], list[str]]:
    """Return the complete networks in the order of the file, and why other parts of it are none."""
    networks: list[Network] = []
    faults: list[str] = []
    paths: set[Tokens] = set()
    for form in FORMS:
        groups = block_paths(modules, form)
        blocks: dict[Tokens, Block] = {}
        for path, inside in groups.items():
            with _noted(faults):
                blocks[path] = parse_block(path, inside, form, ordered)
        for family in _families(blocks):
            with _noted(faults):
                networks.append(_network(family, modules, groups, form))
                paths |= set(groups)
    complete = []
    for network in networks:
        with _noted(faults):
            complete.append(replace(network, idle=_idle(network, modules, networks, paths)))
    return complete, faults


@contextmanager
def _noted(faults: list[str]) -> Iterator[None]:
    """Add the reason of a Mismatch to ``faults``."""
    try:
        yield
    except Mismatch as mismatch:
        faults.append(str(mismatch))


def _families(blocks: dict[Tokens, Block]) -> Iterator[list[Block]]:
    """Yield the blocks of each family in order of computation: by width, then by name.

    Where no family is a complete sequence of stages, because stages have names without numbers, all blocks under
    one name are tried together.
    """
    families: dict[Tokens, list[Block]] = {}
    for path, block in blocks.items():
        families.setdefault(tuple("#" if isinstance(token, int) else token for token in path), []).append(block)
    complete = [family for family in families.values() if len({block.c_out for block in family}) > 2]
    if not complete and blocks:
        complete = [list(blocks.values())]
    for family in complete:
        yield sorted(family, key=lambda block: (block.c_out, block.c_in == block.c_out, natural(block.path)))


def _network(blocks: Sequence[Block], modules: Sequence[Module], paths: Collection[Tokens], form: Form) -> Network:
    """Return the network of a sequence of blocks. Raises Mismatch."""
    outside = [module for module in modules if not _within(module, paths)]
    first, last = blocks[0], blocks[-1]
    scope = reduce(common_prefix, (block.path for block in blocks))
    stems, scope = _up(outside, scope, lambda m: m.kind == "conv" and m.channels == (3, first.c_in))
    if not stems:
        raise Mismatch(f"no convolution that makes {first.c_in} channels of an image")
    layers = {"conv1": _only(stems, "first convolutions")}
    imagenet = layers["conv1"].shape[2] == 7
    names = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"} if imagenet else {}
    for name, block in _stages(blocks):
        layers |= {f"{name}.{names.get(part, part)}": layer for part, layer in block.layers.items()}
    before, _ = _up(outside, scope, lambda m: m.kind == "norm" and m.shape == (first.c_in,))
    after, _ = _up(outside, scope, lambda m: m.kind == "norm" and m.shape == (last.c_out,))
    if after and not imagenet:
        layers["bn"] = _only(after, "norms before the pooling")
    elif before:
        layers["bn1"] = _only(before, "norms after the stem")
    elif not imagenet or "layer1.0.bn1" in layers:
        raise Mismatch("no batch norm after the stem or before the pooling")
    if head := _head(outside, scope, last.c_out):
        layers["fc"] = head
    return Network(_architecture(blocks, layers, form), layers, scope)


def _stages(blocks: Sequence[Block]) -> Iterator[tuple[str, Block]]:
    """Yield ``("layer1.0", block)`` …. Raises Mismatch where the channels of one block are not the next one's."""
    for stage, (_, members) in enumerate(groupby(blocks, key=lambda block: block.c_out), 1):
        for index, block in enumerate(members):
            yield f"layer{stage}.{index}", block
    for before, after in pairwise(blocks):
        if before.c_out != after.c_in:
            name = after.layers["conv1"].name
            raise Mismatch(f"{name} reads {after.c_in} channels, the block before it gives {before.c_out}")


def _architecture(blocks: Sequence[Block], layers: dict[str, Module], form: Form) -> Architecture:
    """Return the architecture with these blocks. Raises Mismatch."""
    counts = [len(list(members)) for _, members in groupby(blocks, key=lambda block: block.c_out)]
    first, classes = blocks[0], layers["fc"].channels[1] if "fc" in layers else None
    imagenet = layers["conv1"].shape[2] == 7
    if form == "bottleneck":
        name = f"wide_resnet{3 * sum(counts) + 2}_{first.channels[1] // 64}"
    elif imagenet:
        name = f"wrn_imagenet_{2 * sum(counts) + 2}_{first.channels[1] / 64:g}".replace(".", "_")
    else:
        name = f"wrn_{2 * sum(counts) + 4}_{first.c_out // 16}"
    where = f"stages of {', '.join(map(str, counts))} blocks, {first.c_out} channels after the first block"
    try:
        architecture = get_architecture(name, classes)
    except ConfigError as error:
        raise Mismatch(f"{where}: {error.message}") from error
    if [block.channels for block in blocks] != [(b.c_in, b.inner, b.c_out) for b in architecture.blocks()]:
        raise Mismatch(f"{where}: those of no Wide ResNet")
    if not imagenet:
        biased = any("bias" in layer.tensors for layer in layers.values() if layer.kind == "conv")
        variant = {"conv_bias": biased, "project_first": first.c_in == first.c_out and "shortcut" in first.layers}
        architecture = with_variant(architecture, variant | ({} if "bn" in layers else {"block": "postact"}))
    _check_norms(blocks, architecture)
    return architecture


def _check_norms(blocks: Sequence[Block], architecture: Architecture) -> None:
    """Raise Mismatch unless the norms of every block are those of the form of the network."""
    for block in blocks:
        channels = block.c_in if architecture.block == "preact" else block.channels[1]
        norm = block.layers.get("bn1")
        if norm and norm.shape != (channels,):
            raise Mismatch(f"{norm.name} has {norm.shape[0]} channels instead of {channels}")
        needed = bool(norm) and architecture.family == "imagenet" and "shortcut" in block.layers
        if ("shortcut_bn" in block.layers) != needed:
            name = block.layers["shortcut"].name
            raise Mismatch(f"a shortcut {'without its' if needed else 'with a'} batch norm: {name}")


def _head(outside: Sequence[Module], scope: Tokens, features: int) -> Module | None:
    """Return the classifier among the linear layers that read the pooled features. Raises Mismatch if it is unclear."""
    linear = [module for module in outside if module.kind == "linear"]
    heads, near = _up(linear, scope, lambda m: m.channels[0] == features and BESIDE.isdisjoint(_words(m, scope)))
    named = [head for head in heads if not HEADS.isdisjoint(_words(head, near))]
    if len(heads) > 1 and len(named) != 1:
        names = ", ".join(f"{head.name} ({head.channels[1]} outputs)" for head in heads)
        raise Mismatch(f"more than one layer may be the classifier: {names}")
    if not heads:
        return None
    (head,) = named if len(heads) > 1 else heads
    parent = head.tokens[:-1]
    for layer in linear:
        if layer.channels[0] == head.channels[1] and layer.tokens[: len(parent)] == parent != scope:
            raise Mismatch(f"two linear layers make the classifier, {head.name} and {layer.name}: one can be read")
    return head


def _idle(
    network: Network, modules: Sequence[Module], networks: Sequence[Network], paths: Collection[Tokens]
) -> dict[str, str]:
    """Return the layers of the file that the network does not use. Raises Mismatch for one that may belong to it."""
    used = set(network.layers.values())
    copies = {layer for copy in networks for layer in copy.layers.values()} - used
    idle: dict[str, str] = {}
    for module in modules:
        if module in used:
            continue
        if module in copies:
            idle[module.name] = "of another copy of the network"
        elif module.tokens[: len(network.scope)] != network.scope:
            idle[module.name] = "outside of the network"
        elif _within(module, paths):
            idle[module.name] = "of a block that the network does not call"
        elif module.kind in ("other", "linear") or not BESIDE.isdisjoint(_words(module, network.scope)):
            idle[module.name] = "beside the network"
        else:
            raise Mismatch(f"{module.name} would be left over, and may lie between the layers of the network")
    return idle


def _up(modules: Iterable[Module], scope: Tokens, fits: Callable[[Module], bool]) -> tuple[list[Module], Tokens]:
    matches = [module for module in modules if fits(module)]
    for length in range(len(scope), -1, -1):
        near = [module for module in matches if module.tokens[:length] == scope[:length]]
        if near:
            return near, scope[:length]
    return [], ()


def _only(modules: Sequence[Module], noun: str) -> Module:
    if len(modules) > 1:
        raise Mismatch(f"{len(modules)} {noun}: {', '.join(module.name for module in modules)}")
    return modules[0]


def _within(module: Module, paths: Collection[Tokens]) -> bool:
    return any(module.tokens[:length] in paths for length in range(1, len(module.tokens) + 1))


def _words(module: Module, scope: Tokens) -> set[str]:
    return words_of(module.tokens[len(scope) :])
