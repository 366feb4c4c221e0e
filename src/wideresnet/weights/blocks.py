"""The residual blocks among the layers of a file, with the role of each layer: by shapes, names and order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Final, Literal

from wideresnet.weights.modules import COUNTERS, Module, Tokens, common_prefix, differ_in_number, natural_key

Form = Literal["pair", "bottleneck"]               # of 3×3 convolutions; one between two 1×1
FORMS: Final[dict[Form, tuple[int, ...]]] = {"pair": (3, 3), "bottleneck": (1, 3, 1)}      # sides of convolutions

CONVS: Final = ("conv1", "conv2", "conv3")
NORMS: Final = ("bn1", "bn2", "bn3")
# Parts of names of a shortcut's convolution, for blocks that do not need one.
SHORTCUTS: Final = ("shortcut", "skip", "downsample", "identity", "proj", "dim")

_UNCLEAR: Final = "neither shapes nor numbers in names show the order of "

Roles = dict[str, Module]                          # "conv1", "bn1", "conv2", …, "shortcut", "shortcut_bn"


class Mismatch(Exception):
    """Tensors are not a network of this family; the text says why."""


@dataclass(frozen=True)
class Block:
    """The layers of one residual block, by the names of ``Architecture.layers``."""

    path: Tokens
    layers: Roles
    c_in: int                                      # channels
    inner: int
    c_out: int


@contextmanager
def noted(faults: dict[Tokens, str], path: Tokens) -> Iterator[None]:
    """Keep the reason of a Mismatch at ``path`` in ``faults``, and go on."""
    try:
        yield
    except Mismatch as mismatch:
        faults[path] = str(mismatch)


def block_paths(modules: Sequence[Module], form: Form) -> dict[Tokens, list[Module]]:
    """Return the layers of each block by the path that their names have in common.

    A block is the largest part of the tree of names with as many 3×3 convolutions as a block has.
    """
    convs = [m for m in modules if m.kind == "conv" and m.shape[2] == 3 and m.shape[1] != 3]        # not of an image
    counts = Counter(path for module in convs for path in _prefixes(module.tokens))
    tops = {next((p for p in _prefixes(m.tokens) if counts[p] == FORMS[form].count(3)), ()) for m in convs}
    blocks: dict[Tokens, list[Module]] = {}
    for module in modules:
        for path in tops.intersection(_prefixes(module.tokens)):
            blocks.setdefault(path, []).append(module)
    return blocks


def parse_blocks(
    groups: Mapping[Tokens, Sequence[Module]], form: Form, ordered: bool
) -> tuple[dict[Tokens, Block], dict[Tokens, str]]:
    """Return the blocks by path, and the reasons why other groups of layers are no blocks, also by path.

    Shapes come first. Where they allow several roles, a name has the role that it has in blocks whose shapes allow only
    one; then numbers in names decide, then the order of the file if it is the order of construction (``ordered``).
    """
    faults: dict[Tokens, str] = {}
    convs = _resolve(groups, lambda path: _conv_choices(groups[path], form), ordered, faults)
    layers = _resolve(convs, lambda path: _norm_choices(groups[path], convs[path], form), ordered, faults)
    blocks = {}
    for path, roles in layers.items():
        blocks[path] = Block(path, roles, *roles["conv1"].channels, roles[f"conv{len(FORMS[form])}"].channels[1])
    return blocks, faults


def in_order(family: Sequence[Block], ordered: bool) -> list[Block]:
    """Return blocks in the order of computation: by width, then by numbers in names, else by the order of the file.

    Raises Mismatch where neither shows the order.
    """
    by_name = sorted(family, key=lambda block: (block.c_out, natural_key(block.path)))
    if all(differ_in_number(a.path, b.path) for a, b in pairwise(by_name) if a.c_out == b.c_out):
        return by_name
    if ordered:
        return sorted(family, key=lambda block: (block.c_out, block.layers["conv1"].index))
    by_shape = sorted(family, key=lambda block: (block.c_out, block.c_in == block.c_out))
    if twins := [(a, b) for a, b in pairwise(by_shape) if (a.c_in, a.c_out) == (b.c_in, b.c_out)]:
        raise Mismatch(_UNCLEAR + ", ".join(block.layers["conv1"].name for block in twins[0]))
    return by_shape


def pattern(path: Tokens) -> Tokens:
    """Return a path without the values of its numbers, as the blocks of a network share it."""
    return tuple("#" if isinstance(token, int) else token for token in path)


def _resolve(
    paths: Iterable[Tokens], choices_at: Callable[[Tokens], list[Roles]], ordered: bool, faults: dict[Tokens, str]
) -> dict[Tokens, Roles]:
    """Choose the roles of each block among those that its shapes allow; unclear blocks go into ``faults``."""
    choices: dict[Tokens, list[Roles]] = {}
    for path in paths:
        with noted(faults, path):
            choices[path] = choices_at(path)
    resolved: dict[Tokens, Roles] = {}
    sequences: set[tuple[Tokens, ...]] = set()         # names inside blocks in the order of computation
    for path in sorted(choices, key=lambda path: len(choices[path])):
        ranks = []
        for roles in choices[path]:
            has_known_names, follows_numbers = _relative_names(roles, path) in sequences, _is_in_order(roles, ordered)
            ranks.append((has_known_names, _shortcut_evidence(roles), follows_numbers))
        best = [roles for roles, rank in zip(choices[path], ranks, strict=True) if rank == max(ranks)]
        if len(best) > 1:
            names = [layer.name for roles in best for layer in _main_path(roles)]
            faults[path] = _UNCLEAR + ", ".join(dict.fromkeys(names))
        else:
            sequences.add(_relative_names(best[0], path))
            resolved[path] = best[0]
    return resolved


def _conv_choices(modules: Sequence[Module], form: Form) -> list[Roles]:
    """Return the roles that the convolutions of a block may have by their shapes. Raises Mismatch."""
    extra = [module for module in modules if module.kind not in ("conv", "norm") and module.tokens[-1] not in COUNTERS]
    if extra:
        raise Mismatch(f"a residual block has something else beside convolutions and batch norms: {extra[0].name}")
    convs, names = [module for module in modules if module.kind == "conv"], (*CONVS[: len(FORMS[form])], "shortcut")
    orders = permutations(convs) if len(convs) in (len(names) - 1, len(names)) else ()
    options = [roles for order in orders if _fits(roles := dict(zip(names, order, strict=False)), form)]
    if not options:
        shown = ", ".join(f"{conv.name} {list(conv.shape)}" for conv in convs[:5])
        raise Mismatch(f"no residual block, with one 1×1 convolution where channels change: {shown}")
    return options


def _fits(roles: Roles, form: Form) -> bool:
    """Return True if each convolution has the size of its role and reads what the one before it gives."""
    main, shortcut = _main_path(roles), roles.get("shortcut")
    sides, channels = tuple(conv.shape[2] for conv in main), [conv.channels for conv in main]
    linked = all(before[1] == after[0] for before, after in pairwise(channels)) and channels[1][0] == channels[1][1]
    c_in, c_out = channels[0][0], channels[-1][1]
    projects = c_in != c_out or _shortcut_evidence(roles) > 0
    return sides == FORMS[form] and linked and projects == bool(shortcut) and (
        shortcut is None or shortcut.shape == (c_out, c_in, 1, 1)
    )


def _norm_choices(modules: Sequence[Module], convs: Roles, form: Form) -> list[Roles]:
    """Return ``convs`` with the roles that the batch norms of a block may have by their shapes. Raises Mismatch."""
    norms, main = [module for module in modules if module.kind == "norm"], _main_path(convs)
    if not norms and all("bias" in conv.tensors for conv in convs.values()):
        return [convs]                             # folded into the convolutions
    after = [conv.channels[1] for conv in main]
    before = after if form == "bottleneck" else [conv.channels[0] for conv in main]
    names = (*NORMS[: len(main)], "shortcut_bn")
    options = [
        convs | dict(zip(names, order, strict=False))
        for order in (permutations(norms) if len(main) <= len(norms) <= len(convs) else ())
        if [norm.shape[0] for norm in order] in ([*widths, after[-1]][: len(norms)] for widths in (before, after))
    ]
    if not options:
        shown = ", ".join(f"{norm.name} {list(norm.shape)}" for norm in norms[:5]) or "none"
        raise Mismatch(f"the batch norms beside {main[0].name} {list(main[0].shape)} do not fit: {shown}")
    return options


def _main_path(roles: Roles) -> list[Module]:
    """Return the batch norms on the main path of a block in order; without them (or before them) the convolutions."""
    return [roles[name] for name in NORMS if name in roles] or [roles[name] for name in CONVS if name in roles]


def _relative_names(roles: Roles, path: Tokens) -> tuple[Tokens, ...]:
    return tuple(module.tokens[len(path) :] for module in _main_path(roles))


def _shortcut_evidence(roles: Roles) -> int:
    """Return how strongly names mark the shortcut: a convolution called so, or a norm called like its convolution."""
    if "shortcut_bn" in roles:
        first, second = roles["shortcut"], roles["shortcut_bn"]
        parts = (set(re.findall(r"[A-Z]?[a-z]+|\d+", layer.name)) for layer in (first, second))
        return len(common_prefix(first.tokens, second.tokens)) + len(set.intersection(*parts))
    ending = "".join(map(str, roles["shortcut"].tokens[-2:])) if "shortcut" in roles else ""
    return any(word in ending.lower() for word in SHORTCUTS)


def _is_in_order(roles: Roles, ordered: bool) -> bool:
    """Return False if numbers in names, or else the order of an ``ordered`` file, contradict the order of the roles."""
    return all(
        natural_key(a.tokens) < natural_key(b.tokens)
        if differ_in_number(a.tokens, b.tokens)
        else not ordered or a.index < b.index
        for a, b in pairwise(_main_path(roles))
    )


def _prefixes(tokens: Tokens) -> Iterator[Tokens]:
    """Yield the beginnings of a name, shortest first."""
    return (tokens[:length] for length in range(1, len(tokens) + 1))
