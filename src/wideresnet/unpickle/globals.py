"""The globals of pickles: pure functions for those that make tensors and containers, opaque names for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from wideresnet.errors import WeightsError
from wideresnet.unpickle.arrays import ARRAY_BUILDERS
from wideresnet.unpickle.values import Builder, Opaque, Storage, StorageType, StoredTensor, Unordered


def known_global(module: Any, name: Any) -> StorageType | Builder | Opaque:
    """Return the replacement of ``module.name``. Raises WeightsError for what only a malicious file would call."""
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MAX_NAME:
        raise TypeError("a global whose name is no text, or too long")
    dotted = f"{module}.{name}"
    # A name may have dots since protocol 4: ("torch", "os.system").
    if REFUSED.fullmatch(dotted) or ("." in name and REFUSED.fullmatch(name)):
        raise WeightsError(
            f"refused: this file wants to use {dotted[:100]!r}, which is neither weights nor plain data",
            hint="nothing of it was run; delete the file, and take safetensors where its maker offers them",
        )
    if dotted == "torch.storage._load_from_bytes":
        raise WeightsError("its tensors were written by pickle.dump", hint="save it again with torch.save")
    storage = name.removesuffix("Storage")
    if module in ("torch", "torch.cuda", "torch.storage") and storage != name and storage in STORAGE_DTYPES:
        return StorageType(STORAGE_DTYPES[storage])
    return Builder(dotted, BUILDERS[dotted]) if dotted in BUILDERS else Opaque(dotted)


def apply(function: Any, arguments: Any) -> Any:
    """Apply a builder; of an opaque value keep the arguments."""
    if not isinstance(arguments, tuple):
        raise TypeError("arguments that are no tuple")
    if isinstance(function, Opaque):
        return Opaque(function.name, [arguments] if arguments else [])
    if not isinstance(function, Builder):
        raise TypeError("a call of something that is no function")
    return function.build(*arguments)


def plain_key(key: Any) -> Any:
    """Return a key of a dict: text, bytes or a number; as text a flat tuple; the name of an opaque value or tensor.

    Hashing a deeply nested tuple would overflow C's stack, and colliding keys would take minutes.
    """
    if isinstance(key, Opaque):                    # a class, or an enum's member with its value
        arguments = key.parts[0] if key.parts and isinstance(key.parts[0], tuple) else ()
        return ".".join([key.name, *(str(part)[:MAX_NAME] for part in arguments[:3] if isinstance(part, PLAIN))])
    if isinstance(key, StoredTensor):              # of a pickled optimizer's state
        return f"{key.storage.key}:{key.offset}"
    if isinstance(key, tuple) and all(isinstance(part, PLAIN) for part in key):
        return str(key)                            # tuples of -1 and -2 all have the same hash
    if not isinstance(key, PLAIN) or (isinstance(key, int) and abs(key) >= 1 << 60):       # likewise 2**61 - 1, …
        raise TypeError("a dict key that is neither text nor number, or a number without end")
    return key


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


def _first(value: Any, *_flags: Any) -> Any:
    """``torch._utils._rebuild_parameter``, the Variable of torch 0.3, …: the value inside."""
    return value


def _subclass(function: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """``torch._tensor._rebuild_from_type_v2``: a tensor that had attributes, without them."""
    return apply(function, arguments)


def _dict(items: Any = ()) -> dict[Any, Any]:
    """``collections.OrderedDict``, ``Counter``, ``defaultdict``, whose argument is no dict or list of pairs."""
    pairs = items.items() if isinstance(items, dict) else items if isinstance(items, list | tuple) else ()
    return {plain_key(key): value for key, value in pairs}


def _list(items: Any = ()) -> list[Any]:
    """``torch.Size``"""
    if not isinstance(items, list | tuple):
        raise TypeError("a set or size made of something that is no list")
    return list(items)


def _set(items: Any = ()) -> Unordered:
    """``set``, ``frozenset``"""
    return Unordered(_list(items))


BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _tensor),
    # "xla_tensor" and "numpy" are of arrays.
    **{f"torch._utils._rebuild_{kind}": _first for kind in ("parameter", "parameter_with_state", "xla_tensor")},
    **{f"torch._utils._rebuild_device_tensor_from_{kind}": _first for kind in ("numpy", "cpu_tensor")},
    **dict.fromkeys(("torch.autograd.variable.Variable", "torch.nn.parameter.Parameter"), _first),
    "torch._tensor._rebuild_from_type_v2": _subclass,
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter", "collections.defaultdict"), _dict),
    "torch.Size": _list,
    **dict.fromkeys(("builtins.set", "builtins.frozenset", "__builtin__.set", "__builtin__.frozenset"), _set),
    **ARRAY_BUILDERS,
}

# torch.FloatStorage, …
STORAGE_DTYPES: Final = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "Untyped": "uint8", "QInt8": "int8",
    "QUInt8": "uint8", "QInt32": "int32", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip

PLAIN: Final = (str, bytes, int, float, type(None))

MAX_NAME: Final = 500                              # characters

# No training saves these. They would do no harm, as nothing is called; but the reader should know of such a file.
REFUSED: Final = re.compile(
    r"(os|posix|nt|posixpath|ntpath|subprocess|sys|shutil|socket|socketserver|importlib|imp|pkgutil|runpy|ctypes|cffi"
    r"|pty|codeop|webbrowser|urllib|urllib2|urllib3|requests|httplib|httpx|aiohttp|ftplib|smtplib|telnetlib"
    r"|c?[Pp]ickle|_pickle|marshal|pip|pdb|bdb|timeit|torch\.hub|torch\.utils\.cpp_extension)\..*"
    r"|(builtins|__builtin__|io|_io)\.(eval|exec|execfile|compile|open|open_code|file|__import__|breakpoint|input"
    r"|raw_input|exit|quit|globals|locals|vars|setattr|delattr|apply|reload|help)"
    r"|code\.(interact|Interactive\w*)|commands\.\w+|torch\.load|numpy\.load",    # commands: subprocess in Python 2
    re.DOTALL,
)
