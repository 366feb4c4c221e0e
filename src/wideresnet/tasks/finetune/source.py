"""The network to fine-tune where none is named: the one in the package, for images as small as it takes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from PIL import Image

from wideresnet.errors import ConfigError
from wideresnet.images.files import find_images

SMALL = 64                                         # pixels a side: twice those of the network
FIRST = 200                                        # images that are looked at


def small_source(data: Path, model: str) -> str:
    """Return ``model`` if the first images in the folder ``data`` are small. Raises ConfigError if they are not."""
    sizes = [_longer_side(file) for file in islice(find_images([data]), FIRST)] if data.is_dir() else []
    if sizes and max(sizes) <= SMALL:
        return model
    hint = f"for photographs --from wide_resnet50_2.tv2_in1k, for images of 32x32 pixels --from {model}"
    raise ConfigError("no model to start from: --from is missing", hint)


def _longer_side(file: Path) -> int:
    """Return the longer side of an image in pixels, from its head; 0 for a file that Pillow cannot open."""
    try:
        with Image.open(file) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0
