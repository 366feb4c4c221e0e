"""Layers -> residual blocks: which layers form one, and what each of them is in it, by shapes and order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from wideresnet.weights.modules import Module, Tokens, common_prefix, natural

Form = Literal["pair", "bottleneck"]               # of 3×3 convolutions; one between two 1×1
FORMS: Final[dict[Form, int]] = {"pair": 2, "bottleneck": 1}      # 3×3 convolutions in a block


# Parts of names of a shortcut's convolution, for blocks that do not need one.
SHORTCUTS: Final = ("shortcut", "skip", "downsample", "identity", "proj", "dim")


class Mismatch(Exception):
    """The reason why tensors are no network of this family."""


@dataclass(frozen=True)
class Block:
    """The layers of one residual block by our names: conv1, bn1, conv2, …, shortcut, shortcut_bn."""

    path: Tokens
    layers: dict[str, Module]
    channels: tuple[int, int, int]                 # in, inside, out

    @property
    def c_in(self) -> int:
        """Channels in."""
        return self.channels[0]

    @property
    def c_out(self) -> int:
        """Channels out."""
        return self.channels[2]


def block_paths(modules: Sequence[Module], form: Form) -> dict[Tokens, list[Module]]:
    """Return the layers of each block by the path that their names have in common.

    A block is the largest part of the tree of names with as many 3×3 convolutions as a block has.
    """
    convs = [module for module in modules if is_inner_conv(module)]
    counts = Counter(path for module in convs for path in _paths(module.tokens))
    blocks = {}
    for module in convs:
        path = next((path for path in _paths(module.tokens) if counts[path] == FORMS[form]), None)
        if path:
            blocks[path] = [inside for inside in modules if inside.tokens[: len(path)] == path]
    return blocks


def is_inner_conv(module: Module) -> bool:
    """Return True for a 3×3 convolution that does not read images."""
    return module.kind == "conv" and module.shape[2] == 3 and module.shape[1] != 3


def parse_block(path: Tokens, modules: Sequence[Module], form: Form, ordered: bool) -> Block:
    """Return the layers of a block by what they do. Raises Mismatch, also where names and shapes leave a choice."""
    convs, norms = _of_kind(modules, "conv"), _of_kind(modules, "norm")
    extra = [module for module in modules if module.kind == "linear" or (module.kind == "other" and _parameter(module))]
    if extra:
        raise Mismatch(f"a residual block has something else beside convolutions and batch norms: {extra[0].name}")
    sort = _sorter(ordered)
    layers = _pair(sort(conv for conv in convs if conv.shape[2] == 3)) if form == "pair" else _bottleneck(sort(convs))
    rest = [conv for conv in convs if conv not in layers.values()]
    last = layers["conv2"] if form == "pair" else layers["conv3"]
    c_in, inner, c_out = layers["conv1"].channels[0], layers["conv1"].channels[1], last.channels[1]
    if rest:
        called = any(word in rest[0].name.lower() for word in SHORTCUTS)
        if len(rest) > 1 or rest[0].shape != (c_out, c_in, 1, 1) or (c_in == c_out and not called):
            raise Mismatch(f"a convolution more than a residual block has: {rest[-1].name} {list(rest[-1].shape)}")
        layers["shortcut"] = rest[0]
    elif c_in != c_out:
        raise Mismatch(f"no 1×1 convolution from {c_in} to {c_out} channels in {modules[0].name.rpartition('.')[0]}")
    return Block(path, layers | _norms(sort(norms), layers), (c_in, inner, c_out))


def _pair(convs: Sequence[Module]) -> dict[str, Module]:
    """Return conv1 and conv2 of two 3×3 convolutions: conv2 has as many channels in as out."""
    first, second = convs
    if first.channels[1] != second.channels[0]:
        first, second = second, first
    if not first.channels[1] == second.channels[0] == second.channels[1]:
        raise Mismatch(f"{first.name} {list(first.shape)} and {second.name} {list(second.shape)} do not fit together")
    return {"conv1": first, "conv2": second}


def _bottleneck(convs: Sequence[Module]) -> dict[str, Module]:
    """Return conv1 (1×1), conv2 (3×3) and conv3 (1×1) of a bottleneck."""
    (middle,) = (conv for conv in convs if conv.shape[2] == 3)
    inner = middle.channels[0]
    narrow = [conv for conv in convs if conv.shape[2] == 1]
    first = next((conv for conv in narrow if conv.channels[1] == inner), None)
    last = next((conv for conv in narrow if conv.channels[0] == inner and conv is not first), None)
    if first is None or last is None or middle.channels[1] != inner:
        raise Mismatch(f"{middle.name} {list(middle.shape)} lacks the two 1×1 convolutions of a bottleneck")
    return {"conv1": first, "conv2": middle, "conv3": last}


def _norms(norms: list[Module], layers: dict[str, Module]) -> dict[str, Module]:
    """Return the batch norms of a block by name; the one of the shortcut has a name next to its convolution's."""
    mains = [name for name in ("conv1", "conv2", "conv3") if name in layers]
    named: dict[str, Module] = {}
    if len(norms) == len(mains) + 1 and "shortcut" in layers:
        near = {norm: len(common_prefix(norm.tokens, layers["shortcut"].tokens)) for norm in norms}
        named["shortcut_bn"] = max(norms, key=lambda norm: near[norm])
        norms = [norm for norm in norms if norm is not named["shortcut_bn"]]
    if not norms and all("bias" in conv.tensors for conv in layers.values()):
        return {}                                  # folded into the convolutions
    if len(norms) != len(mains):
        raise Mismatch(f"{len(norms)} batch norms instead of {len(mains)} beside {layers['conv1'].name}")
    c_in, inner = layers["conv1"].channels
    if len(mains) == 2 and c_in != inner:          # shapes say which is first: of c_in channels, or both of inner
        norms = sorted(norms, key=lambda norm: norm.shape != (c_in,))
    return named | {f"bn{index + 1}": norm for index, norm in enumerate(norms)}


def _sorter(ordered: bool) -> Callable[[Iterable[Module]], list[Module]]:
    """Return a function that puts layers in the order of computation.

    Where two names first differ in a number, by it. Else, in a file that keeps the order in which layers were
    made (``ordered``), by that order; in others by name, as libraries write such files.
    """

    def sort(modules: Iterable[Module]) -> list[Module]:
        by_name = sorted(modules, key=lambda module: natural(module.tokens))
        numbered = all(map(_differ_in_number, by_name, by_name[1:]))
        return by_name if numbered or not ordered else sorted(by_name, key=lambda module: module.index)

    return sort


def _differ_in_number(first: Module, second: Module) -> bool:
    shared = len(common_prefix(first.tokens, second.tokens))
    ends = [tokens[shared : shared + 1] for tokens in (first.tokens, second.tokens)]
    return all(end and isinstance(end[0], int) for end in ends)


def _paths(tokens: Tokens) -> Iterator[Tokens]:
    """Yield the beginnings of a name, shortest first."""
    return (tokens[:length] for length in range(1, len(tokens) + 1))


def _of_kind(modules: Sequence[Module], kind: str) -> list[Module]:
    return [module for module in modules if module.kind == kind]


def _parameter(module: Module) -> bool:
    return "weight" in module.tensors or "bias" in module.tensors
