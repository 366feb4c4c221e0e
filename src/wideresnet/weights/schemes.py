"""Other people's key names for the CIFAR networks, seen in checkpoints, mapped to ours.

- xternalz/WideResNet-pytorch (RobustBench and others too): ``block1.layer.0.bn1.weight``,
  ``….convShortcut.weight``, last norm ``bn1``;
- szagoruyko/wide-residual-networks, the paper's own PyTorch port, functional: ``conv0``,
  ``group0.block0.bn0.weight``, ``….conv0``, ``….convdim``, with or without ``.weight`` after convolutions;
- hysts/pytorch_wrn: ``conv.weight``, ``stage1.block1.conv1.weight``, ``….shortcut.conv.weight``.

The ImageNet networks carry torchvision's names in every library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")


def rename(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the values under our names; names of no known scheme are unchanged."""
    for scheme, mark in MARKS.items():
        if any(mark.match(key) for key in tensors):
            return {scheme(key): array for key, array in tensors.items()}
    return dict(tensors)


def _xternalz(key: str) -> str:
    if match := re.fullmatch(r"block(\d)\.layer\.(\d+)\.(.+)", key):
        return f"layer{match[1]}.{match[2]}.{match[3].replace('convShortcut', 'shortcut')}"
    return re.sub(r"^bn1\.", "bn.", key)


def _szagoruyko(key: str) -> str:
    if key in ("conv0", "conv0.weight"):
        return "conv1.weight"
    match = re.fullmatch(r"group(\d)\.block(\d+)\.(conv0|conv1|convdim|bn0|bn1)(\..+)?", key)
    if match is None:
        return key
    layer = {"conv0": "conv1", "conv1": "conv2", "convdim": "shortcut", "bn0": "bn1", "bn1": "bn2"}[match[3]]
    return f"layer{int(match[1]) + 1}.{match[2]}.{layer}{match[4] or '.weight'}"


def _hysts(key: str) -> str:
    if match := re.fullmatch(r"stage(\d)\.block(\d+)\.(.+)", key):
        rest = match[3].replace("shortcut.conv", "shortcut")
        return f"layer{match[1]}.{int(match[2]) - 1}.{rest}"
    return re.sub(r"^conv\.", "conv1.", key)


# A key that only the scheme has.
MARKS: Final[dict[Callable[[str], str], re.Pattern[str]]] = {
    _xternalz: re.compile(r"block\d\.layer\.\d+\."),
    _szagoruyko: re.compile(r"group\d\.block\d+\."),
    _hysts: re.compile(r"stage\d\.block\d+\."),
}
