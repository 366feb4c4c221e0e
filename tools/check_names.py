"""Count names that say nothing: ``python tools/check_names.py src/wideresnet``.

A filler is a binding (variable, parameter, function or class) whose name would fit any value: ``each``, ``found``,
``place``. The ceiling is what was reached last; it only falls. Prints the files with most fillers and exits 1 when
there are more than that, otherwise one line of totals.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

FILLERS = frozenset(
    (
        *("each", "every", "found", "known", "place", "places", "made", "some", "left", "share", "shares", "whole"),
        *("other", "others", "one", "what", "how", "seen", "kept", "given", "wanted", "asked", "said", "thing"),
    )
)
CEILING = 6                                        # bindings in src/wideresnet
LISTED = 10                                        # files shown


def main() -> int:
    """0 when the folder has no more filler bindings than the ceiling, else 1."""
    parser = argparse.ArgumentParser(description="Count the filler names of a folder of Python files.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    names = {path: list(bindings(path.read_text("utf-8"))) for path in sorted(folder.rglob("*.py"))}
    if not names:
        print(f"{folder}: no Python files")
        return 1
    fillers = {path: [name for name in bound if is_filler(name)] for path, bound in names.items()}
    count, total = (sum(map(len, counted.values())) for counted in (fillers, names))
    if count > CEILING:
        for path in sorted(fillers, key=lambda path: -len(fillers[path]))[:LISTED]:
            if fillers[path]:
                print(f"{path}: {describe(fillers[path])}")
    print(f"{count} filler names of {total} ({count / max(total, 1):.1%}), at most {CEILING}")
    return int(count > CEILING)


def bindings(source: str) -> Iterator[str]:
    """Names that are bound: assigned, parameters, functions and classes; not self, cls, imports or attributes."""
    tree = ast.parse(source)
    operands = {id(argument) for node in ast.walk(tree) if is_operator(node) for argument in node.args.args}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg) and node.arg not in ("self", "cls") and id(node) not in operands:
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def is_operator(node: ast.AST) -> TypeGuard[ast.FunctionDef]:
    """True for ``__add__(self, other)`` and its like, whose parameter has the name that Python's manual gives it."""
    return isinstance(node, ast.FunctionDef) and node.name.startswith("__") and node.name.endswith("__")


def is_filler(name: str) -> bool:
    """True for a filler, also with underscores around it."""
    return name.strip("_") in FILLERS


def describe(names: list[str]) -> str:
    """The names with their counts, most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


if __name__ == "__main__":
    sys.exit(main())
