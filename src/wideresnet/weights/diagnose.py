"""The error for a weights file without a complete network: what is missing or too much, and what it resembles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

from wideresnet.errors import WeightsError
from wideresnet.weights.blocks import FORMS, block_paths, pattern
from wideresnet.weights.modules import PARAMETRISED, Module, Tokens
from wideresnet.weights.origin import SCHEMES

SHOWN = 3                                          # names in a message
REMOVE = (
    "save plain weights, after torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') or, of older code,"
    " remove_weight_norm(layer), remove_spectral_norm(layer) or prune.remove(layer, 'weight')"
)


def no_network(modules: Sequence[Module], faults: Sequence[str]) -> WeightsError:
    """Return the error for layers of which none form a complete network; ``faults`` are reasons for parts of them."""
    layers = [module for module in modules if module.kind != "other"]
    parts = [f"no complete Wide ResNet among {_listed([module.name for module in layers], 'layers')}"]
    hint = "'wrn models' lists the networks that are read"
    if computed := [module.name for module in modules if PARAMETRISED.fullmatch(module.name)]:
        parts.append(f"{_listed(computed, 'tensors')} of weight norm, spectral norm or pruning in place of weights")
        hint = REMOVE
    elif len(kernels := [module.name for module in modules if module.shape[:2] == (3, 3) and module.shape[2:]]) > SHOWN:
        parts.append(f"{_listed(kernels, 'convolutions')} with the axes of TensorFlow and Flax")
        hint = "transpose kernels of four axes by (3, 2, 0, 1), of two by (1, 0), and save them again"
    elif missing := sorted({name for form in FORMS for name in _missing(modules, block_paths(modules, form))}):
        parts.append(f"{_listed(missing, 'tensors')} missing beside the other blocks")
        hint = "give the complete checkpoint"
    else:
        parts.append([*faults, "no block of two 3×3 convolutions, or one between two 1×1"][0])
    if scheme := _resembled(modules):
        parts.append(f"the names are those of {scheme}")
    return WeightsError("; ".join(parts), hint)


def _missing(modules: Sequence[Module], blocks: dict[Tokens, list[Module]]) -> Iterator[str]:
    """Yield tensors that one block of a family lacks, while most of its blocks have them."""
    families = Counter(map(pattern, blocks)).most_common(1)
    inside: dict[Tokens, dict[tuple[Tokens, str], str]] = {}
    for family, module in product((family for family, count in families if count > 1), modules):
        path, rest = module.tokens[: len(family)], module.tokens[len(family) :]
        if pattern(path) == family and module.shape[2:] != (1, 1):        # not every block has a shortcut
            inside.setdefault(path, {}).update({(rest, role): name for role, name in module.tensors.items()})
    counts = Counter(key for names in inside.values() for key in names if key[1] != "num_batches_tracked")
    examples = {key: name for names in inside.values() for key, name in names.items()}
    for path, (key, count) in product(inside, counts.most_common(100)):
        if key not in inside[path] and count > len(inside) / 2:
            yield _like(examples[key], path)


def _like(example: str, path: Tokens) -> str:
    """Return the name ``example``, of another block, with the numbers of ``path``."""
    numbers = iter([token for token in path if isinstance(token, int)])
    return re.sub(r"\d+", lambda match: str(next(numbers, match[0])), example)


def _resembled(modules: Sequence[Module]) -> str:
    """Return the scheme whose names for the first block's convolution and the second stage's shortcut both occur."""
    for scheme in SCHEMES[:-1]:
        names = scheme.names.split(" ")
        general = scheme.biases in ("any", "") and not scheme.with_key and len(names) < 4
        if general and all(any(re.search(rf"(^|\.){name}$", m.name) for m in modules) for name in names[:2] if name):
            return scheme.title
    return ""


def _listed(names: Sequence[str], noun: str) -> str:
    """Return ``"412 layers (a, b, c, …)"``."""
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} {noun}" + (f" ({', '.join(names[:SHOWN])}{more})" if names else "")
