"""Check the size limits of the package: ``python tools/check_size.py src/wideresnet``.

Limits (docs/decisions/0008): MAX_TOTAL lines of code in all (comments, docstrings and blank lines are not counted),
400 lines per file, 50 lines and 7 parameters per function (self and cls not counted; in ``cli`` and ``functions.py``
parameters and docstring are the options and the help of a command, and not limited), no ``**kwargs`` except with a
leading underscore, for ignored arguments where another library defines the signature.
Prints each violation as ``path:line: message`` and exits 1; otherwise prints one line of totals.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from statistics import median

MAX_TOTAL = 28580
MAX_FILE = 400
MAX_FUNCTION = 50
MAX_PARAMETERS = 7
MORE_PARAMETERS = {"load": 17, "embed": 8}                   # wideresnet.load has the options of a model

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Return 0 if the folder is within the limits, else 1."""
    parser = argparse.ArgumentParser(description="Check the size limits of a folder of Python files.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    sources = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}
    if not sources:
        print(f"{folder}: no Python files")
        return 1
    breaches = [breach for path, source in sources.items() for breach in file_breaches(path, source)]
    total = sum(map(code_lines, sources.values()))
    if total > MAX_TOTAL:
        breaches.append(f"{folder}: {total} lines of code in all, at most {MAX_TOTAL}")
    print("\n".join(breaches) if breaches else summary(total, list(sources.values())))
    return 1 if breaches else 0


def file_breaches(path: Path, source: str) -> Iterator[str]:
    """Yield the violations in one file, in the order of its lines."""
    if (lines := line_count(source)) > MAX_FILE:
        yield f"{path}:{lines}: {lines} lines, at most {MAX_FILE} a file"
    is_interface = path.parent.name == "cli" or path.name == "functions.py"
    for function in functions(source):
        where = f"{path}:{function.lineno}: {function.name}"
        length = body_length(function) if is_interface else function_length(function)
        if length > MAX_FUNCTION:
            yield f"{where} is {length} lines long, at most {MAX_FUNCTION}"
        limit = MORE_PARAMETERS.get(function.name, MAX_PARAMETERS)
        if not is_interface and (count := parameter_count(function)) > limit:
            yield f"{where} takes {count} parameters, at most {limit}"
        keywords = function.args.kwarg
        if keywords and not keywords.arg.startswith("_"):
            yield f"{where} takes **{keywords.arg}: name the parameters"


def summary(total: int, sources: list[str]) -> str:
    """Return the line of totals."""
    lengths = [function_length(function) for source in sources for function in functions(source)]
    middle = f", median function {median(lengths):g} lines, longest {max(lengths)}" if lengths else ""
    return f"{total} of {MAX_TOTAL} lines of code in {len(sources)} files{middle}"


def functions(source: str) -> list[Function]:
    """Return all functions and methods in the order of their lines."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]
    return sorted(nodes, key=lambda function: function.lineno)


def function_length(function: Function) -> int:
    """Return the number of lines from ``def`` to the end of the body."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def body_length(function: Function) -> int:
    """Return the number of lines of the body, without signature and docstring."""
    first, *rest = function.body
    start = rest[0] if rest and ast.get_docstring(function) else first
    return (function.end_lineno or start.lineno) - start.lineno + 1


def parameter_count(function: Function) -> int:
    """Return the number of named parameters and ``*args``, without a leading self or cls."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    bound = names[:1] in (["self"], ["cls"])
    return len(names) - bound + len(arguments.kwonlyargs) + (arguments.vararg is not None)


def code_lines(source: str) -> int:
    """Return the number of lines with code: not blank, not only a comment, not a docstring."""
    no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for t in tokens if t.type not in no_code for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            code -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(code)


def line_count(source: str) -> int:
    """Return the number of all lines of a file."""
    return len(source.splitlines())


if __name__ == "__main__":
    sys.exit(main())
