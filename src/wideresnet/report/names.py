"""Short names of classes and images for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePath

from wideresnet.records import Labels

ClassName = Callable[[int], str]


def class_names(labels: Labels) -> ClassName:
    """Return a function from a class index to its unique name, or "class 7" for an index without one.

    Of ImageNet's lists of synonyms, the first; of the two cranes, each with its WordNet id.
    """
    short = [name.partition(",")[0] for name in labels.names] if labels.ids else list(labels.names)
    counts = Counter(short)
    marks = labels.ids or [str(index) for index in range(len(short))]
    names = [f"{name} ({mark})" if counts[name] > 1 else name for name, mark in zip(short, marks, strict=True)]
    return lambda index: names[index] if 0 <= index < len(names) else f"class {index}"


def first_names(names: Sequence[str], limit: int = 5) -> str:
    """Return ``a, b, c and 7 more``, with at most ``limit`` names."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def image_name(path: str) -> str:
    """Return the name of the file with that of its folder, which often is its class."""
    return "/".join(PurePath(path).parts[-2:])
