"""Write the tree in ARCHITECTURE.md from the first line of each module's docstring.

``python tools/make_tree.py`` writes; a test compares. The order is that of the import layers, lowest
first: no folder imports from those listed after it.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "wideresnet"
PAGE = ROOT / "ARCHITECTURE.md"
MARK = "<!-- tree -->"
NAME_WIDTH, LINE_WIDTH = 28, 92


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """Return ARCHITECTURE.md with a new fenced block after its mark."""
    before, mark, rest = PAGE.read_text("utf-8").partition(MARK)
    after = rest.split("```", 2)[2]
    return f"{before}{mark}\n```\n{tree()}\n```{after}"


def tree() -> str:
    """Return the modules of the package, one per line."""
    top = sorted(modules(PACKAGE), key=lambda path: (layer_of(path), path.name))
    return "\n".join([f"{PACKAGE.relative_to(ROOT).as_posix()}/", *lines(top, "  ")])


def lines(paths: list[Path], indent: str) -> Iterator[str]:
    """Yield a line for each path and, after a package, those of its modules."""
    for path in paths:
        yield line(path, indent)
        if path.is_dir():
            yield from lines(sorted(modules(path)), indent + "  ")


def modules(folder: Path) -> Iterator[Path]:
    """Yield the Python files and packages directly in ``folder``, without its ``__init__.py``."""
    for path in folder.iterdir():
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists():
            yield path


def layer_of(path: Path) -> int:
    """Return the negative row of a module in the import layers; 1 (the highest) for ``__main__``, which has none."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    heights = {name: -row for row, text in enumerate(layers) for name in re.findall(r"\w+", text)}
    return heights.get(path.stem, 1)


def line(path: Path, indent: str) -> str:
    """Return the name and the summary of a module, shortened at a punctuation mark if it is long."""
    source = (path / "__init__.py" if path.is_dir() else path).read_text("utf-8")
    summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".").replace("``", "")
    if len(summary) > LINE_WIDTH:
        summary = re.split(r"[.:;] | \(", summary)[0]
    name = f"{indent}{path.name}{'/' if path.is_dir() else ''}"
    return f"{name:<{NAME_WIDTH}} {summary}".rstrip()


if __name__ == "__main__":
    main()
