"""A pickle decoder that cannot call anything.

``pickletools`` (standard library) only decodes opcodes; the stack machine below implements the few that checkpoints and
arrays use. A global becomes a value of this package: a ``StorageType``, one of the pure functions listed in
``BUILDERS`` (and for data sets in ``ARRAY_BUILDERS``), or an ``Opaque`` for names that are often saved with weights
(``argparse.Namespace``, NumPy scalars). Any other global is an error that names it. Python's own ``pickle`` is never
imported: nothing in a file can run, import, or touch an object of this process.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any, BinaryIO, Final, NamedTuple

from wideresnet.errors import WeightsError
from wideresnet.unpickle.arrays import ARRAY_BUILDERS, ArrayType, StoredArray

MAX_PICKLE_BYTES: Final = 64 << 20                 # of one pickle without its tensors; real ones are < 5 MB


@dataclass(frozen=True)
class StorageType:
    """The type of a storage's numbers, by torch's name (``torch.FloatStorage`` and its like)."""

    dtype: str                                     # "float32", "bfloat16", …


@dataclass(frozen=True)
class Storage:
    """A sequence of ``numel`` numbers in the file, ``start`` numbers after the beginning of record ``key``."""

    key: str
    dtype: str
    numel: int
    start: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it: offset, shape and strides in elements of its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Opaque:
    """A value beside the weights whose content is not needed."""

    name: str


@dataclass(frozen=True)
class Builder:
    """A global of torch or NumPy that one of the pure functions below replaces."""

    build: Callable[..., Any]


class Unpickled(NamedTuple):
    """The content of a pickle, and the storages it refers to: key -> dtype."""

    value: Any
    storages: dict[str, str]


def load_pickle(source: BinaryIO | mmap, *, arrays: bool = False, limit: int = MAX_PICKLE_BYTES) -> Unpickled:
    """Decode one pickle at the position of ``source``, up to and with its STOP; of at most ``limit`` bytes.

    ``source`` must know its own end (a memory map, a BytesIO), so that a false length can't ask for more
    memory than the file has bytes. The value is made of dicts, lists, tuples, text, numbers, bytes and the
    records of this module; strings of Python 2 are text in Latin-1. With ``arrays`` NumPy arrays are
    ``StoredArray`` s and the bytes of protocol 2 bytes; without, both are ``Opaque``. Raises WeightsError for a
    global that is not on the list, for an opcode that checkpoints don't use, and for damage.
    """
    machine = _Machine({**BUILDERS, **ARRAY_BUILDERS} if arrays else BUILDERS, limit)
    start = source.tell()
    try:
        for opcode, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
            if opcode.name == "STOP":
                return Unpickled(machine.stack.pop(), machine.storages)
            machine.step(opcode.name, argument)
            if source.tell() - start > limit:
                raise WeightsError("the pickled part of this file is too large")
    except DAMAGE as error:
        raise WeightsError(
            f"the pickled part of this file is damaged: {error}", hint="fetch or copy it again"
        ) from error
    raise WeightsError("the pickled part of this file ends too early", hint="fetch or copy it again")


class _Machine:
    """The stack, the stacks below the marks, and the memo of a pickle being decoded."""

    def __init__(self, builders: Mapping[str, Callable[..., Any]], limit: int) -> None:
        self.builders, self.budget = builders, limit           # bytes that copies of its texts may still take
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, str] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode, by its name in ``pickletools.opcodes``."""
        match name:
            case _ if name in PUSH_ARGUMENT:
                self.stack.append(argument)
            case _ if name in PUSH_CONSTANT:
                self.stack.append(PUSH_CONSTANT[name]())
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "POP":
                self.stack.pop()
            case "POP_MARK":
                self.since_mark()
            case "DUP":
                self.stack.append(self.stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "TUPLE":
                items = self.since_mark()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self.pop(int(name[-1]))))
            case "APPEND":
                append_to(*self.pop_onto(1))
            case "APPENDS" | "ADDITEMS":
                items = self.since_mark()
                append_to(self.stack[-1], items)
            case "SETITEM":
                set_items_of(*self.pop_onto(2))
            case "SETITEMS":
                items = self.since_mark()
                set_items_of(self.stack[-1], items)
            case _:
                self.step_object(name, argument)

    def step_object(self, name: str, argument: Any) -> None:
        """Execute an opcode by which Python would import and call; here it makes records."""
        match name:
            case "GLOBAL":
                module, _, attribute = argument.partition(" ")
                self.stack.append(known_global(module, attribute, self.builders))
            case "STACK_GLOBAL":
                module, attribute = self.pop(2)
                self.stack.append(known_global(module, attribute, self.builders))
            case "REDUCE" | "NEWOBJ":
                self.stack.append(apply(*self.pop(2)))
                self.spend(self.stack[-1])
            case "BUILD":
                target, (state,) = self.pop_onto(1)
                set_state(target, state)
                self.spend(target)
            case "BINPERSID":
                storage = storage_of(self.stack.pop())
                self.storages[storage.key] = storage.dtype
                self.stack.append(storage)
            case _:
                raise WeightsError(
                    f"refused: the pickle in this file uses {name}, which weights do not need",
                    hint="nothing of it was run",
                )

    def spend(self, made: Any) -> None:
        """Count the bytes of a copy: a short pickle may ask for the same large one again and again."""
        self.budget -= made.values.nbytes if isinstance(made, StoredArray) else len(made) if type(made) is bytes else 0
        if self.budget < 0:
            raise WeightsError("the pickled part of this file grows too large")

    def since_mark(self) -> list[Any]:
        """Remove and return the values pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        """Remove and return the ``count`` topmost values, the deepest first."""
        if len(self.stack) < count:
            raise IndexError("more taken from the stack than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def pop_onto(self, count: int) -> tuple[Any, list[Any]]:
        """Remove the ``count`` topmost values; return the value below them, which stays, and them."""
        items = self.pop(count)
        return self.stack[-1], items


def append_to(target: Any, items: list[Any]) -> None:
    """APPEND(S), ADDITEMS: to a list; what goes into an opaque is dropped."""
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Opaque):
        raise TypeError("append to something that is no list")


def set_items_of(target: Any, items: list[Any]) -> None:
    """SETITEM(S): key, value, key, value … into a dict; what goes into an opaque is dropped."""
    if isinstance(target, Opaque):
        return
    if not isinstance(target, dict) or len(items) % 2:
        raise TypeError("set items of something that is no dict")
    target.update(zip(map(plain_key, items[::2]), items[1::2], strict=True))


def plain_key(key: Any) -> Any:
    """Return ``key`` if it is text, bytes or a number: hashing a deeply nested tuple would overflow C's stack."""
    if not isinstance(key, (str, bytes, int, float, type(None))):
        raise TypeError("a dict key that is neither text nor number")
    return key


def set_state(target: Any, state: Any) -> None:
    """BUILD: the numbers of an array, the byte order of its type. Of an opaque and a dict nothing is needed."""
    if isinstance(target, ArrayType | StoredArray):
        target.set_state(*state)
    elif not isinstance(target, Opaque | dict):
        raise TypeError("attributes for something that has none")


def known_global(
    module: Any, name: Any, builders: Mapping[str, Callable[..., Any]]
) -> StorageType | Builder | Opaque:
    """Return the replacement of ``module.name``. Raises WeightsError for a global that is not listed."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a global whose name is no text")
    dotted = f"{module}.{name}"
    if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGE_DTYPES:
        return StorageType(STORAGE_DTYPES[name])
    if dotted in builders:
        return Builder(builders[dotted])
    if dotted in OPAQUE:
        return Opaque(dotted)
    raise WeightsError(
        f"refused: this file wants to use {dotted[:100]!r}, which is neither weights nor plain data",
        hint="nothing of it was run; if you trust its maker, save model.state_dict() alone or as safetensors",
    )


def apply(function: Any, arguments: Any) -> Any:
    """Apply a builder; an opaque value stays opaque, whatever its arguments."""
    if not isinstance(arguments, tuple):
        raise TypeError("arguments that are no tuple")
    if isinstance(function, Opaque):
        return function
    if not isinstance(function, Builder):
        raise TypeError("a call of something that is no function")
    return function.build(*arguments)


def storage_of(reference: Any) -> Storage:
    """``("storage", type, key, location, numel[, view])`` -> Storage. A view is (key, start, numel)."""
    if isinstance(reference, tuple) and reference[:1] == ("module",):
        raise WeightsError(
            "this file holds a whole pickled model, not a state dict",
            hint="save model.state_dict() instead, or as safetensors",
        )
    _, kind, key, _, numel, *view = reference
    if not isinstance(kind, StorageType) or not isinstance(key, str):
        raise TypeError("a storage without type or name")
    start = 0
    if view and view[0] is not None:
        _, start, numel = view[0]
    return Storage(key, kind.dtype, natural(numel), natural(start))


def natural(value: Any) -> int:
    """Return ``value`` if it is an integer from 0 to 2**62."""
    if type(value) is not int or not 0 <= value <= 1 << 62:
        raise ValueError("a size or offset that cannot be")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_flags: Any) -> StoredTensor:
    """``torch._utils._rebuild_tensor(_v2)``; requires_grad, hooks and metadata don't matter here."""
    if not isinstance(storage, Storage) or len(shape) != len(strides) or len(shape) > 32:
        raise TypeError("a tensor without storage, or with fewer strides than sides")
    return StoredTensor(storage, natural(offset), tuple(map(natural, shape)), tuple(map(natural, strides)))


def _parameter(tensor: Any, *_flags: Any) -> Any:
    """``torch._utils._rebuild_parameter``: the tensor itself."""
    return tensor


def _subclass(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """``torch._tensor._rebuild_from_type_v2``: a tensor that had attributes, without them."""
    return apply(function, arguments)


def _ordered_dict(items: Any = ()) -> dict[Any, Any]:
    """``collections.OrderedDict``; Python 2 wrote its items as a list of pairs."""
    return {plain_key(key): value for key, value in items}


def _size(sides: Any = ()) -> tuple[Any, ...]:
    """``torch.Size``"""
    return tuple(sides)


BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
}

STORAGE_DTYPES: Final = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}

# Names that lie beside the weights in checkpoints of training scripts. They stay names: nothing of them
# is imported, called or kept.
OPAQUE: Final = frozenset(
    f"{module}.{name}"
    for module, names in {
        "argparse": "Namespace",
        "builtins": "set frozenset complex bytearray",
        "__builtin__": "set frozenset complex bytearray",
        "collections": "defaultdict Counter",
        "datetime": "datetime timedelta",
        "numpy": "dtype ndarray",
        "numpy.core.multiarray": "scalar _reconstruct",
        "numpy._core.multiarray": "scalar _reconstruct",
        "pathlib": "PosixPath WindowsPath PurePosixPath PureWindowsPath",
        "pathlib._local": "PosixPath WindowsPath PurePosixPath PureWindowsPath",
        "_codecs": "encode",
        "torch": "Tensor device float32 float64 float16 bfloat16 int64 int32 int16 int8 uint8 bool",
        "torch.nn.parameter": "Parameter",
    }.items()
    for name in names.split()
)

PUSH_ARGUMENT: Final = frozenset(
    (
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    )
)  # fmt: skip
PUSH_CONSTANT: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Opaque("builtins.set"),
}
# What a damaged or hostile stream can make the decoder or the machine raise.
DAMAGE: Final = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError, OverflowError, RecursionError,
)  # fmt: skip
