"""The error for a weights file without a complete network: what is missing or too much, and what it resembles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from wideresnet.errors import WeightsError
from wideresnet.weights.blocks import FORMS, block_paths
from wideresnet.weights.modules import Module, Tokens
from wideresnet.weights.origin import SCHEMES

SHOWN = 3                                          # names in a message


def no_network(modules: Sequence[Module], faults: Sequence[str]) -> WeightsError:
    """Return the error for layers of which none form a complete network; ``faults`` are reasons for parts of them."""
    layers = [module for module in modules if module.kind != "other"]
    parts = [f"no complete Wide ResNet among {_listed([module.name for module in layers], 'layers')}"]
    if missing := sorted({name for form in FORMS for name in _missing(modules, block_paths(modules, form))}):
        parts.append(f"{_listed(missing, 'tensors')} missing beside the other blocks")
    elif faults:
        parts.append(faults[0])
    if scheme := _resembled(modules):
        parts.append(f"the names are those of {scheme}")
    hint = "give the complete checkpoint" if missing else "'wrn models' lists the networks that are read"
    return WeightsError("; ".join(parts), hint)


def _missing(modules: Sequence[Module], blocks: dict[Tokens, list[Module]]) -> Iterator[str]:
    """Yield tensors that most blocks of a family have, and one has not."""
    families = Counter(_pattern(path) for path in blocks)
    if not families:
        return
    (family, count), *_ = families.most_common(1)
    inside: dict[Tokens, dict[tuple[Tokens, str], str]] = {}
    for module in modules:
        path = module.tokens[: len(family)]
        if _pattern(path) == family:
            rest = module.tokens[len(family) :]
            inside.setdefault(path, {}).update({(rest, role): name for role, name in module.tensors.items()})
    usual = Counter(key for names in inside.values() for key in names)
    for path, names in inside.items():
        for (rest, role), number in usual.items():
            if (rest, role) not in names and number > len(inside) / 2 and count > 1 and role != "num_batches_tracked":
                example = next(block[rest, role] for block in inside.values() if (rest, role) in block)
                yield _like(example, path)


def _like(example: str, path: Tokens) -> str:
    """Return the name ``example``, of another block, with the numbers of ``path``."""
    numbers = iter([token for token in path if isinstance(token, int)])
    return re.sub(r"\d+", lambda match: str(next(numbers, match[0])), example)


def _resembled(modules: Sequence[Module]) -> str:
    """Return the scheme whose name for a convolution of the first block occurs."""
    for scheme in SCHEMES[:-1]:
        first = scheme.names.partition(" ")[0]
        if any(re.search(rf"(^|\.){first}$", module.name) for module in modules):
            return scheme.title
    return ""


def _pattern(path: Tokens) -> Tokens:
    return tuple("#" if isinstance(token, int) else token for token in path)


def _listed(names: Sequence[str], noun: str) -> str:
    """Return ``"412 layers (a, b, c, …)"``."""
    more = ", …" if len(names) > SHOWN else ""
    return f"{len(names)} {noun}" + (f" ({', '.join(names[:SHOWN])}{more})" if names else "")
