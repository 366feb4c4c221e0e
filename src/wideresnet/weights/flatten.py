"""A decoded checkpoint as flat names: its tensors by dotted path, and the plain values beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from wideresnet.errors import WeightsError
from wideresnet.unpickle import Opaque, StoredTensor

Fact = str | int | float | bool | None

MAX_NAMES: Final = 1 << 28                         # characters of all paths: hostile files share and nest without end
MAX_DEPTH: Final = 500
MAX_FACTS: Final = 10_000
MAX_LISTED: Final = 32                             # numbers and texts of one list that become facts
MAX_TEXT: Final = 200

SAVE_AGAIN: Final = "save it again with torch.save(model.state_dict(), 'weights.pth')"


def flatten(root: Any) -> tuple[dict[str, StoredTensor], dict[str, Fact]]:
    """Return every tensor below ``root`` and the plain values beside them, by dotted path, in the order of the file.

    Keys of dicts, indices of lists and tuples, and attributes of objects join with "."; the name of an object's class
    is the fact ``PATH.__class__`` (``PATH`` alone where nothing lies inside). A pickled module has the names of its
    state dict. Facts are cut: 10,000 in all, 32 of a list, 200 characters of a text. Raises WeightsError for nesting
    or sharing beyond all measure, and where two tensors get one name.
    """
    tensors: dict[str, StoredTensor] = {}
    facts: dict[str, Fact] = {}
    budget = MAX_NAMES
    open_containers = {0: iter([("", root)])}      # by id, the innermost last: one inside itself is not entered again
    while open_containers:
        container, children = next(reversed(open_containers.items()))
        path, value = next(children, (None, None))
        if path is None:
            del open_containers[container]
            continue
        budget -= len(path) + 1
        if isinstance(value, StoredTensor):
            if path in tensors:
                raise WeightsError(f"it holds two tensors called {path[:MAX_TEXT]!r}", hint=SAVE_AGAIN)
            tensors[path] = value
        elif isinstance(value, Fact):
            if len(facts) < MAX_FACTS and not (isinstance(value, int) and value.bit_length() > 64):
                facts[path] = value[:MAX_TEXT] if isinstance(value, str) else value
        elif isinstance(value, dict | list | tuple | Opaque) and id(value) not in open_containers:
            budget -= len(value) if not isinstance(value, Opaque) else 0
            open_containers[id(value)] = _children(value, f"{path}." if path else "")
        if budget < 0 or len(open_containers) > MAX_DEPTH:
            raise WeightsError("refused: what it holds is nested without end", hint=SAVE_AGAIN)
    return tensors, facts


def _children(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield what lies directly inside a dict, list, tuple or object, with its path."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield f"{prefix}{key.decode('latin-1') if isinstance(key, bytes) else key}", child
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            if index < MAX_LISTED or not isinstance(child, Fact):
                yield f"{prefix}{index}", child
    else:
        yield prefix.removesuffix("."), value.name
