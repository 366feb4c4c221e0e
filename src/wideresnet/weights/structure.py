"""The complete networks among the layers of a file, by arithmetic: depth 6n + 4, widths 16k, 32k, 64k, …

Names only order layers and tell copies apart; what a layer is follows from its shape and from where it lies:

    blocks    the parts of the tree of names with two 3×3 convolutions (bottlenecks: one between two 1×1)
    families  blocks whose paths differ in numbers only; one that is a complete sequence of stages is a network
    rest      stem, norm before the pooling and classifier: the nearest layers of the right shape outside of blocks
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import groupby, pairwise
from typing import Final

from wideresnet.architectures import Architecture, get_architecture, with_variant
from wideresnet.errors import ConfigError
from wideresnet.layers import Linear, Norm
from wideresnet.weights.blocks import FORMS, Block, Form, Mismatch, block_paths, in_order, noted, parse_blocks, pattern
from wideresnet.weights.modules import AUXILIARY, AVERAGES, Module, Tokens, common_prefix, is_auxiliary, words_of

HEADS: Final = {"fc", "linear", "classifier", "head", "logits", "output", "classification"}


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
        return _is_averaged(self.scope)

    @property
    def is_auxiliary(self) -> bool:
        """True if its names say that it is a teacher or another aid of training."""
        return not AUXILIARY.isdisjoint(words_of(self.scope))

    @property
    def headless(self) -> bool:
        """True if the file has no classifier for it."""
        return "fc" not in self.layers


def find_networks(modules: Sequence[Module], ordered: bool) -> tuple[list[Network], list[str]]:
    """Return the complete networks in the order of the file, and why other parts of it are none."""
    networks: list[Network] = []
    complete: list[Network] = []
    faults: dict[Tokens, str] = {}
    refused: dict[Tokens, str] = {}
    paths: set[Tokens] = set()
    for form in FORMS:
        groups = block_paths(modules, form)
        blocks, reasons = parse_blocks(groups, form, ordered)
        refused |= reasons
        for family in _families(blocks, reasons):
            with noted(faults, family[0].path):
                networks.append(_network(in_order(family, ordered), modules, groups, form))
                paths |= set(groups)
    for network in networks:
        with noted(faults, network.scope):
            complete.append(replace(network, idle=_idle(network, modules, networks, paths)))
    return complete, [*faults.values(), *refused.values()]


def _families(blocks: dict[Tokens, Block], reasons: Collection[Tokens]) -> Iterator[list[Block]]:
    """Yield the blocks of each family of three widths or more; none of one with a refused block, at ``reasons``.

    Blocks of one family have paths that differ in numbers only, or also share the first number, which may tell whole
    networks apart. Where there is no family, because stages have names without numbers, all blocks are tried together.
    """
    broken = set(map(pattern, reasons))
    families: dict[tuple[object, ...], list[Block]] = {}
    for path, block in blocks.items():
        first = next((token for token in path if isinstance(token, int)), None)
        for key in {(pattern(path), None), (pattern(path), first)}:
            families.setdefault(key, []).append(block)
    wide = [family for family in families.values() if len({block.c_out for block in family}) > 2]
    distinct = {tuple(block.path for block in family): family for family in wide}
    if not distinct and blocks and not broken:
        yield list(blocks.values())
    yield from (family for paths, family in distinct.items() if pattern(paths[0]) not in broken)


def _network(blocks: Sequence[Block], modules: Sequence[Module], paths: Collection[Tokens], form: Form) -> Network:
    """Return the network of a sequence of blocks. Raises Mismatch."""
    outside = [module for module in modules if not _within(module, paths)]
    first, last = blocks[0], blocks[-1]
    scope = reduce(common_prefix, (block.path for block in blocks))
    stems, scope = _up(outside, scope, lambda m: m.kind == "conv" and m.channels == (3, first.c_in))
    if not stems:
        wrong = [f": {m.name} {list(m.shape)}" for m in outside if m.kind == "conv" and m.channels[1] == first.c_in]
        raise Mismatch(f"no convolution that makes {first.c_in} channels of an image{''.join(wrong[:1])}")
    layers = {"conv1": _only(stems, "first convolutions")}
    imagenet = layers["conv1"].shape[2] == 7
    names = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"} if imagenet else {}
    for name, block in _stages(blocks):
        _check_sequence(block, modules)
        layers |= {f"{name}.{names.get(part, part)}": layer for part, layer in block.layers.items()}
    before, _ = _up(outside, scope, lambda m: m.kind == "norm" and m.shape == (first.c_in,))
    after, _ = _up(outside, scope, lambda m: m.kind == "norm" and m.shape == (last.c_out,))
    if after and not imagenet:
        layers["bn"] = _only(after, "norms before the pooling")
    elif before:
        layers["bn1"] = _only(before, "norms after the stem")
    elif not imagenet or "layer1.0.bn1" in layers or "bias" not in layers["conv1"].tensors:
        raise Mismatch("no batch norm after the stem or before the pooling")
    if head := _head(outside, scope, last.c_out):
        layers["fc"] = head
    return Network(_architecture(blocks, layers, form), layers, scope)


def _check_sequence(block: Block, modules: Sequence[Module]) -> None:
    """Raise Mismatch where a layer without tensors, such as the pooling of ResNet-D, stands before the shortcut's."""
    name = block.layers["shortcut"].name if "shortcut" in block.layers else ""
    sequence, _, number = name.rpartition(".")
    before = tuple(f"{sequence}.{index}." for index in range(int(number) if number.isdecimal() else 0))
    if before and not any(f"{module.name}.".startswith(before) for module in modules):
        raise Mismatch(f"{name} is not the first of its sequence: something that is not in the file computes before it")


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
        name = f"wide_resnet{3 * sum(counts) + 2}_{first.inner // 64}"
    elif imagenet:
        name = f"wrn_imagenet_{2 * sum(counts) + 2}_{first.inner / 64:g}".replace(".", "_")
    else:
        name = f"wrn_{2 * sum(counts) + 4}_{first.c_out // 16}"
    where = f"stages of {', '.join(map(str, counts))} blocks, {first.c_out} channels after the first block"
    try:
        architecture = get_architecture(name, classes)
    except ConfigError as error:
        raise Mismatch(f"{where}: {error.message}") from error
    if architecture.family == "cifar":
        biased = any("bias" in layer.tensors for layer in layers.values() if layer.kind == "conv")
        variant = {"conv_bias": biased, "project_first": first.c_in == first.c_out and "shortcut" in first.layers}
        architecture = with_variant(architecture, variant | ({} if "bn" in layers else {"block": "postact"}))
    _check_layers(layers, architecture)
    return architecture


def _check_layers(layers: Mapping[str, Module], architecture: Architecture) -> None:
    """Raise Mismatch unless these are the layers of the architecture, or those that are left when norms are folded."""
    shapes = architecture.tensors()
    for name, layer in layers.items():
        expected = shapes.get(f"{name}.weight")
        if layer.shape != expected:
            problem = f"instead of {list(expected)}" if expected else "is one too many"
            raise Mismatch(f"{layer.name} {list(layer.shape)} {problem} in {architecture.name}")
    filled = (Linear,) if any(layer.kind == "norm" for layer in layers.values()) else (Linear, Norm)
    needed = [layer.name for layer in architecture.layers() if not isinstance(layer, filled)]
    if missing := [name for name in needed if name not in layers]:
        raise Mismatch(f"{len(missing)} layers of {architecture.name} missing ({', '.join(missing[:3])} by our names)")


def _head(outside: Sequence[Module], scope: Tokens, features: int) -> Module | None:
    """Return the classifier among the linear layers that read the pooled features. Raises Mismatch if it is unclear."""
    linear = [module for module in outside if module.kind == "linear"]
    heads, near = _up(linear, scope, lambda m: m.channels[0] == features and not is_auxiliary(m.tokens[len(scope) :]))
    named = [head for head in heads if not HEADS.isdisjoint(_words(head, near))]
    if len(heads) > 1 and len(named) != 1:
        names = ", ".join(f"{head.name} ({head.channels[1]} outputs)" for head in heads)
        raise Mismatch(f"more than one layer may be the classifier: {names}")
    if not heads:
        for layer in outside:
            if not HEADS.isdisjoint(_words(layer, scope)) and not is_auxiliary(layer.tokens):
                raise Mismatch(f"{layer.name} {list(layer.shape) or ''} is no classifier for {features} features")
        return None
    (head,) = named if len(heads) > 1 else heads
    for layer in linear:
        inside = layer.tokens[: len(near)] == near and not is_auxiliary(layer.tokens[len(near) :])
        if inside and layer.channels[0] == head.channels[1]:
            raise Mismatch(f"two linear layers make the classifier, {head.name} and {layer.name}: one can be read")
    return head


def _idle(
    network: Network, modules: Sequence[Module], networks: Sequence[Network], paths: Collection[Tokens]
) -> dict[str, str]:
    """Return the layers of the file that the network does not use. Raises Mismatch for one that may belong to it."""
    used = {layer.tokens: layer for layer in network.layers.values()}
    copies = {layer: copy.architecture.name for copy in networks for layer in copy.layers.values()}
    inside = reduce(common_prefix, used)
    inside = inside[:-1] if any(isinstance(token, int) for token in inside[-1:]) else inside        # a Sequential's
    sizes = ((), (network.architecture.classes,))   # of parameters of losses
    idle: dict[str, str] = {}
    for module in modules:
        auxiliary = is_auxiliary(module.tokens[len(inside) :])
        idle_shape = module.kind == "linear" or (module.shape in sizes and "running_var" not in module.tensors)
        if module in used.values():
            continue
        if module in copies:
            same = copies[module] == network.architecture.name
            idle[module.name] = "of another copy of the network" if same else f"of another network, {copies[module]}"
        elif module.tokens[: len(inside)] != inside:
            partly = module.kind == "conv" and _is_averaged(module.tokens)
            idle[module.name] = "of an incomplete moving average" if partly else "outside of the network"
        elif auxiliary and _within(module, paths) and not _within(module, used):
            idle[module.name] = "of a block that the network does not call"
        elif auxiliary:
            idle[module.name] = "beside the network"
        elif _within(module, used):
            raise Mismatch(f"{module.name} may change what a layer of the network computes")
        elif _within(module, paths) or not idle_shape:
            raise Mismatch(f"{module.name} would be left over, and may lie between the layers of the network")
        else:
            idle[module.name] = "beside the network"
    return idle


def _is_averaged(tokens: Tokens) -> bool:
    return any(word in AVERAGES or word.endswith("ema") for word in words_of(tokens))


def _up(modules: Iterable[Module], scope: Tokens, fits: Callable[[Module], bool]) -> tuple[list[Module], Tokens]:
    """Return the fitting layers under the longest beginning of ``scope`` that has some, and that beginning."""
    matches = [module for module in modules if fits(module)]
    common = max((common_prefix(module.tokens, scope) for module in matches), key=len, default=())
    return [module for module in matches if module.tokens[: len(common)] == common], common


def _only(modules: Sequence[Module], noun: str) -> Module:
    if len(modules) > 1:
        raise Mismatch(f"{len(modules)} {noun}: {', '.join(module.name for module in modules)}")
    return modules[0]


def _within(module: Module, paths: Collection[Tokens]) -> bool:
    return any(module.tokens[:length] in paths for length in range(1, len(module.tokens) + 1))


def _words(module: Module, scope: Tokens) -> set[str]:
    return words_of(module.tokens[len(scope) :])
