"""A decoded checkpoint as flat names: its tensors by dotted path, and the plain values beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from numpy.typing import NDArray

from wideresnet.errors import WeightsError
from wideresnet.unpickle import SAVE_AGAIN
from wideresnet.unpickle.arrays import StoredArray
from wideresnet.unpickle.values import Opaque, StoredTensor, Unordered

Tensor = StoredTensor | NDArray[Any]
Fact = str | int | float | bool | None

MAX_NAMES: Final = 1 << 27                         # characters of all paths: hostile files share and nest without end
MAX_DEPTH: Final = 500
MAX_FACTS: Final = 100_000
MAX_LISTED: Final = 32                             # numbers of one list that become facts
MAX_TEXTS: Final = 25_000                          # values of a dict, texts of a list; ImageNet has 21,843 classes
MAX_ROWS: Final = 1000                             # rows of plain values in one list, such as images with their classes
MAX_TEXT: Final = 200
UNREAD: Final = "not read"                         # the end of the fact that stands for an array of other than numbers
_CUT: Final = object()                             # stands for a plain value beyond these limits


def flatten(root: Any) -> tuple[dict[str, Tensor], dict[str, Fact], int]:
    """Return every tensor and array below ``root`` and the plain values beside them, by dotted path, in their order.

    The last value is the number of plain values that are left out, other than numbers of long lists.

    Keys of dicts, indices of lists and tuples, and attributes of objects join with "."; the name of an object's class
    is the fact ``PATH.__class__``, that of a class or function ``PATH``. A pickled module has the tensors of its
    state dict. Indices of a set stand in braces. Facts are cut: 100,000 in all, 25,000 values of a dict or texts of a
    list, 1000 rows of one, 32 numbers of one, 200 characters of a text.
    Raises WeightsError for nesting or sharing beyond all measure, where two tensors get one name, and where the
    attributes of objects may be among the facts that are cut.
    """
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Fact] = {}
    budget, cut = MAX_NAMES, 0
    open_containers = {0: iter([("", root)])}      # by id, the innermost last: one inside itself is not entered again
    while open_containers:
        container, children = next(reversed(open_containers.items()))
        path, value = next(children, (None, None))
        if path is None:
            del open_containers[container]
            continue
        budget -= len(path) + 1
        if isinstance(value, StoredArray) and not value.values.size:
            value = f"an array, {UNREAD}"          # of texts or objects
        if isinstance(value, StoredTensor | StoredArray):
            if path in tensors:
                raise WeightsError(f"it holds two tensors called {path[:MAX_TEXT]!r}", hint=SAVE_AGAIN)
            tensors[path] = value if isinstance(value, StoredTensor) else value.values
        elif value is _CUT or (isinstance(value, Fact) and len(facts) == MAX_FACTS):
            cut += 1
            if path.endswith(".__class__"):
                problem = f"it has over {MAX_FACTS:,} values beside its tensors, so that objects cannot be looked at"
                raise WeightsError(problem, hint=SAVE_AGAIN)
        elif isinstance(value, Fact):
            if not (isinstance(value, int) and value.bit_length() > 64):
                facts[path] = value[:MAX_TEXT] if isinstance(value, str) else value
        elif isinstance(value, dict | list | tuple | Opaque) and id(value) not in open_containers:
            open_containers[id(value)] = _children(value, f"{path}." if path else "")
        if budget < 0 or len(open_containers) > MAX_DEPTH:
            raise WeightsError("refused: its values are nested too deeply, or too many", hint=SAVE_AGAIN)
    return tensors, facts, cut


def _children(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield what lies directly inside a dict, list, tuple or opaque value, with its path."""
    if isinstance(value, dict):
        for index, (key, child) in enumerate(value.items()):
            is_cut = index >= MAX_TEXTS and isinstance(child, Fact)
            yield f"{prefix}{key.decode('latin-1') if isinstance(key, bytes) else key}", _CUT if is_cut else child
    elif not isinstance(value, Opaque):
        for index, child in enumerate(value):
            name = f"{{{index}}}" if isinstance(value, Unordered) else str(index)
            if index >= MAX_LISTED and isinstance(child, int | float | None):
                child = ...                        # a type that flatten does not collect
            elif (index >= MAX_TEXTS and isinstance(child, str)) or (index >= MAX_ROWS and _is_row(child)):
                child = _CUT
            yield f"{prefix}{name}", child
    elif not value.parts:
        yield prefix.removesuffix("."), value.name
    else:
        yield f"{prefix}__class__", value.name
        # Its arguments, elements, items and states; a dict among them has its attributes.
        parts = [inner for part in value.parts for inner in (part if isinstance(part, tuple | list) else (part,))]
        states = [part for part in parts if isinstance(part, dict)]
        for state in states:
            if isinstance(state.get("_parameters"), dict) and isinstance(state.get("_modules"), dict):
                yield from _module_children(state, prefix)
                return
        for container in ([part for part in parts if not isinstance(part, dict)], *states):
            yield from _children(container, prefix)


def _is_row(value: Any) -> bool:
    """Return True for a short sequence of plain values."""
    return isinstance(value, tuple | list) and len(value) < MAX_LISTED and all(isinstance(v, Fact) for v in value)


def _module_children(state: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the plain attributes of a pickled ``torch.nn.Module``, then what is in its state dict."""
    for name, value in state.items():
        elements = value if isinstance(value, tuple | list) else (value,)
        plain = (isinstance(item, Fact) or (isinstance(item, Opaque) and not item.parts) for item in elements)
        if not str(name).startswith("_") and all(plain):
            yield f"{prefix}{name}", value
    passing = state.get("_non_persistent_buffers_set")
    for group in ("_parameters", "_buffers", "_modules"):
        members = state.get(group)
        for name, child in members.items() if isinstance(members, dict) else ():
            persistent = group != "_buffers" or not isinstance(passing, list) or name not in passing
            if child is not None and persistent:
                yield f"{prefix}{name}", child
