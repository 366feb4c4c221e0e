"""Named arrays -> which architecture they are, by key names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from wideresnet.architectures import ARCHITECTURES, Architecture, get_architecture
from wideresnet.errors import ConfigError
from wideresnet.weights.schemes import rename


def guess_architecture(tensors: Mapping[str, NDArray[Any]]) -> Architecture | None:
    """Return the architecture that the tensors fit, with its number of classes; None if none fits.

    Foreign key names are known (``schemes``). Every key and shape must fit, but for ``num_batches_tracked``,
    and for the classifier: for a file without one the architecture has its usual number of classes.
    """
    named = rename(tensors)
    shapes = {key: array.shape for key, array in named.items() if not key.endswith("num_batches_tracked")}
    classes = shapes["fc.weight"][0] if len(shapes.get("fc.weight", ())) == 2 else None
    for candidate in _candidates(shapes, classes):
        expected = candidate.tensors().items()
        required = {key: shape for key, shape in expected if not key.endswith("num_batches_tracked")}
        if classes is None:
            required = {key: shape for key, shape in required.items() if not key.startswith("fc.")}
        if required == shapes:
            return candidate
    return None


def _candidates(shapes: Mapping[str, tuple[int, ...]], classes: int | None) -> list[Architecture]:
    """Return the possible architectures: the WRN-n-k that depth and width suggest, or the ImageNet networks."""
    if classes == 0:
        return []
    if any(key.startswith("layer4.") for key in shapes):
        names = [name for name, architecture in ARCHITECTURES.items() if architecture.family == "imagenet"]
    else:
        blocks = {match[1] for key in shapes if (match := re.match(r"layer1\.(\d+)\.", key))}
        first = shapes.get("layer1.0.conv1.weight", (0,))
        names = [f"wrn_{6 * len(blocks) + 4}_{first[0] // 16}"] if blocks and first else []
    try:
        return [get_architecture(name, classes=classes) for name in names]
    except ConfigError:
        return []
