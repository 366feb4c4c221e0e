"""Hold the product to its size: ``python tools/check_size.py src/wideresnet``.

Ceilings (docs/decisions/0008): 5,000 lines of code in all (comments, docstrings and blanks are free), 400
lines a file, 50 lines and 7 parameters a function (self and cls not counted; in ``cli`` the parameters and the
docstring are the command's options and help, and free), no ``**kwargs`` but for ones whose name begins with an
underscore: ignored, where another library decides the signature.
Prints each breach as ``path:line: what`` and exits 1; otherwise prints one line of totals.
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

MAX_TOTAL = 20600
MAX_FILE = 400
MAX_FUNCTION = 50
MAX_PARAMETERS = 7
MORE_PARAMETERS = {"load": 9}                    # the package's front door: a model's options

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """0 when everything under the given folder keeps to the ceilings, else 1."""
    parser = argparse.ArgumentParser(description="Hold a folder of Python files to its size ceilings.")
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
    """Each breach of one file, in the order of its lines."""
    if (lines := line_count(source)) > MAX_FILE:
        yield f"{path}:{lines}: {lines} lines, at most {MAX_FILE} a file"
    for function in functions(source):
        where = f"{path}:{function.lineno}: {function.name}"
        length = body_length(function) if path.parent.name == "cli" else function_length(function)
        if length > MAX_FUNCTION:
            yield f"{where} is {length} lines long, at most {MAX_FUNCTION}"
        most = MORE_PARAMETERS.get(function.name, MAX_PARAMETERS)
        if path.parent.name != "cli" and (count := parameter_count(function)) > most:
            yield f"{where} takes {count} parameters, at most {most}"
        rest = function.args.kwarg
        if rest and not rest.arg.startswith("_"):
            yield f"{where} takes **{rest.arg}: name the parameters"


def summary(total: int, sources: list[str]) -> str:
    """The one line of totals."""
    lengths = [function_length(function) for source in sources for function in functions(source)]
    middle = f", median function {median(lengths):g} lines, longest {max(lengths)}" if lengths else ""
    return f"{total} of {MAX_TOTAL} lines of code in {len(sources)} files{middle}"


def functions(source: str) -> list[Function]:
    """Every function and method, in the order of their lines."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]
    return sorted(found, key=lambda function: function.lineno)


def function_length(function: Function) -> int:
    """Lines from ``def`` to the last of the body."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def body_length(function: Function) -> int:
    """Lines of the body, without signature and docstring."""
    first, *rest = function.body
    start = rest[0] if rest and ast.get_docstring(function) else first
    return (function.end_lineno or start.lineno) - start.lineno + 1


def parameter_count(function: Function) -> int:
    """Named parameters and ``*args``; a leading self or cls doesn't count."""
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    bound = names[:1] in (["self"], ["cls"])
    return len(names) - bound + len(arguments.kwonlyargs) + (arguments.vararg is not None)


def code_lines(source: str) -> int:
    """Lines that hold code: not blank, not only a comment, not of a docstring."""
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for t in tokens if t.type not in quiet for line in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            code -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(code)


def line_count(source: str) -> int:
    """Lines of a file, of whatever kind."""
    return len(source.splitlines())


if __name__ == "__main__":
    sys.exit(main())
