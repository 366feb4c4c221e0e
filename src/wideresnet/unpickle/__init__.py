"""A pickle decoder that cannot call anything.

``pickletools`` (standard library) only decodes opcodes; the stack machine below implements those that checkpoints and
arrays use. A global becomes a value of this package: a ``StorageType``, one of the pure functions listed in
``globals.BUILDERS`` and ``arrays.ARRAY_BUILDERS``, or an ``Opaque`` that keeps its name and what is put into it. Names
that only a malicious file would use are errors. Python's own ``pickle`` is never imported: nothing in a file can run,
import, or touch an object of this process.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from mmap import mmap
from sys import getsizeof
from typing import Any, BinaryIO, Final, NamedTuple

from wideresnet.errors import WeightsError, errors_as
from wideresnet.unpickle.arrays import ARRAY_BUILDERS, ArrayType, StoredArray
from wideresnet.unpickle.globals import apply, known_global, natural, plain_key
from wideresnet.unpickle.values import Builder, Opaque, Storage, StorageType, StoredTensor, Unordered

MAX_PICKLE_BYTES: Final = 64 << 20                 # of one pickle without numbers; real ones are < 5 MB
MAX_OPCODES: Final = 1 << 22                       # each makes at most one small object; real pickles have < 100,000

DAMAGED: Final = "fetch or copy it again"
SAVE_AGAIN: Final = "save it again with torch.save(model.state_dict(), 'weights.pth')"


class Unpickled(NamedTuple):
    """The content of a pickle, and the storages it refers to: key -> dtype."""

    value: Any
    storages: dict[str, str]


def load_pickle(source: BinaryIO | mmap, *, arrays: bool = False, limit: int = MAX_PICKLE_BYTES) -> Unpickled:
    """Decode one pickle at the position of ``source``, up to and with its STOP; of at most ``limit`` bytes.

    ``source`` must know its own end (a memory map, a BytesIO), so that a false length can't ask for more
    memory than the file has bytes. The result is made of dicts, lists, tuples, text, numbers, bytes,
    ``StoredArray`` s, ``Unordered`` for sets, and the records of ``values``; strings of Python 2 are text in Latin-1.
    With ``arrays`` an array that is not of plain numbers is damage; without, it is ``Opaque`` or empty. Raises
    WeightsError for a global that only a malicious file would use, for an opcode that checkpoints don't use, and for
    damage.
    """
    machine = _Machine(limit, strict=arrays)
    start = source.tell()
    with errors_as(DAMAGE, WeightsError, "the pickled part of this file is damaged", hint=DAMAGED):
        for count, (opcode, argument, _) in enumerate(pickletools.genops(source)):  # type: ignore[arg-type]
            if opcode.name != "STOP":              # the last one
                machine.step(opcode.name, argument)
            if source.tell() - start > limit or count > MAX_OPCODES:
                raise WeightsError("the pickled part of this file is too large", hint=SAVE_AGAIN)
        return Unpickled(machine.stack.pop(), machine.storages)


class _Machine:
    """The stack, the stacks below the marks, and the memo of a pickle being decoded."""

    def __init__(self, limit: int, *, strict: bool) -> None:
        self.strict = strict                       # an array that is not of plain numbers is damage
        self.budget = limit                        # bytes that copies and objects may still take
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, str] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode, by its name in ``pickletools.opcodes``."""
        if name in PUSH_ARGUMENT:
            self.push(argument)
        elif name in STEPS:
            STEPS[name](self, argument)
        else:
            problem = f"refused: the pickle in this file uses {name}, which weights do not need"
            raise WeightsError(problem, hint=f"nothing of it was run; {SAVE_AGAIN}")

    def push(self, value: Any) -> None:
        """Put ``value`` on the stack."""
        self.stack.append(value)

    def pop(self, count: int) -> list[Any]:
        """Remove and return the ``count`` topmost values, the deepest first."""
        if len(self.stack) < count:
            raise IndexError("more taken from the stack than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def mark(self) -> None:
        """MARK: begin a sequence of values."""
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Remove and return the values pushed since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def add(self, content: list[Any] | dict[Any, Any]) -> None:
        """APPEND(S), ADDITEMS, SETITEM(S): into a list or dict, or into an opaque one."""
        match self.stack[-1], content:
            case Opaque(parts=parts), _:
                parts.append(content)
            case list() as target, list():
                target.extend(content)
            case dict() as target, dict():
                target.update(content)
            case _:
                raise TypeError("elements or items for something that has none")

    def call(self, function: Any, arguments: Any, *named: Any) -> None:
        """REDUCE, NEWOBJ, …: push what a call would give; arguments by name (NEWOBJ_EX) are kept like a state."""
        try:
            result = apply(function, arguments)
        except (TypeError, ValueError):
            if self.strict or not isinstance(function, Builder) or function.name not in ARRAY_BUILDERS:
                raise
            result = Opaque(function.name, [arguments])
        self.make(result)
        for state in named:
            self.build(state)

    def build(self, state: Any) -> None:
        """BUILD: the numbers of an array, the byte order of its type, the attributes of an opaque. Others need none."""
        target = self.stack[-1]
        if isinstance(target, ArrayType | StoredArray):
            try:
                target.set_state(*state)
            except (TypeError, ValueError):        # an array of objects
                if self.strict:
                    raise
            self.spend(target)
        elif isinstance(target, Opaque):
            target.parts.append(state)
        elif not isinstance(target, dict | StoredTensor):
            raise TypeError("attributes for something that has none")

    def refer(self, reference: Any) -> None:
        """BINPERSID: ``("storage", type, key, location, numel[, view])``; a view is (key, start, numel).

        ``("module", class, file, source)``, in models pickled before torch 1.6: the class.
        """
        if isinstance(reference, tuple) and reference[:1] == ("module",) and isinstance(reference[1], Opaque):
            return self.push(reference[1])
        _, kind, key, _, numel, *view = reference
        if not isinstance(kind, StorageType) or not isinstance(key, str):
            raise TypeError("a storage without type or name")
        _, start, numel = view[0] if view and view[0] is not None else ("", 0, numel)
        self.storages[key] = kind.dtype
        return self.push(Storage(key, kind.dtype, natural(numel), natural(start)))

    def make(self, value: Any) -> None:
        """Push a new value."""
        self.push(value)
        self.spend(value)

    def spend(self, value: Any) -> None:
        """Count the bytes of a copy: a short pickle may ask for the same large one again and again."""
        numbers = value.values.nbytes if isinstance(value, StoredArray) else 0
        self.budget -= getsizeof(value) + len(getattr(value, "name", "")) + numbers
        if self.budget < 0:
            raise WeightsError("the pickled part of this file grows too large", hint=SAVE_AGAIN)


def _items(values: list[Any]) -> dict[Any, Any]:
    """Return key, value, key, value … as a dict."""
    return dict(zip(map(plain_key, values[::2]), values[1::2], strict=True))


# The values of these are their arguments; strings of Python 2 are read as Latin-1.
PUSH_ARGUMENT: Final = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_Step = Callable[[_Machine, Any], object]
STEPS: Final[dict[str, _Step]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push(Unordered()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(1),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, key: machine.memo.update({natural(key): machine.stack[-1]})
    ),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "FROZENSET": lambda machine, _: machine.push(Unordered(machine.since_mark())),
    "APPEND": lambda machine, _: machine.add(machine.pop(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.add(machine.since_mark())),
    "SETITEM": lambda machine, _: machine.add(_items(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.add(_items(machine.since_mark())),
    "GLOBAL": lambda machine, name: machine.make(known_global(*name.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.make(known_global(*machine.pop(2))),
    "INST": lambda machine, name: machine.call(known_global(*name.split(" ", 1)), tuple(machine.since_mark())),
    "OBJ": lambda machine, _: machine.call((items := machine.since_mark())[0], tuple(items[1:])),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.call(*machine.pop(2))),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.pop(3)),
    "BUILD": lambda machine, _: machine.build(*machine.pop(1)),
    "BINPERSID": lambda machine, _: machine.refer(*machine.pop(1)),
}
# What a damaged or hostile stream can make the decoder or the machine raise.
DAMAGE: Final = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError, OverflowError, RecursionError,
)  # fmt: skip
