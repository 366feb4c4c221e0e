"""Write the tree in ARCHITECTURE.md from the first line of each module's docstring.

``python tools/make_tree.py`` writes; a test compares. The order is that of the import layers, from below:
what stands higher on the page knows nothing of what stands lower.
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
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """ARCHITECTURE.md with the fenced block after its mark written anew."""
    before, mark, rest = PAGE.read_text("utf-8").partition(MARK)
    after = rest.split("```", 2)[2]
    return f"{before}{mark}\n```\n{tree()}\n```{after}"


def tree() -> str:
    """The package's modules, a line each."""
    top = sorted(modules(PACKAGE), key=lambda path: (layer_of(path), path.name))
    return "\n".join([f"{PACKAGE.relative_to(ROOT).as_posix()}/", *lines(top, "  ")])


def lines(paths: list[Path], indent: str) -> Iterator[str]:
    """Modules and, below each package, its own."""
    for path in paths:
        yield line(path, indent)
        if path.is_dir():
            yield from lines(sorted(modules(path)), indent + "  ")


def modules(folder: Path) -> Iterator[Path]:
    """Python files and packages directly in ``folder``, without its own ``__init__.py``."""
    for path in folder.iterdir():
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists():
            yield path


def layer_of(path: Path) -> int:
    """Its height among the import layers, the lowest 0; what is in no layer (``__main__``) is above all."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    heights = {name: -row for row, text in enumerate(layers) for name in re.findall(r"\w+", text)}
    return heights.get(path.stem, 1)


def line(path: Path, indent: str) -> str:
    """The name, and what the module says of itself, shortened at a mark of punctuation where it is long."""
    source = (path / "__init__.py" if path.is_dir() else path).read_text("utf-8")
    said = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".").replace("``", "")
    if len(said) > LINE_WIDTH:
        said = re.split(r"[.:;] | \(", said)[0]
    name = f"{indent}{path.name}{'/' if path.is_dir() else ''}"
    return f"{name:<{NAME_WIDTH}} {said}".rstrip()


if __name__ == "__main__":
    main()
