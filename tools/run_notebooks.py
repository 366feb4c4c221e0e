"""Execute the notebooks of ``examples/notebooks`` and store their outputs in them.

``python tools/run_notebooks.py`` needs minutes and no network. A test executes the notebooks without writing them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Write every notebook."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
            tidy(notebook, folder)
        nbformat.write(notebook, path)
        print(f"{path.relative_to(ROOT)}: executed")


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook with its outputs, run in a copy of ``examples`` in ``folder``. Raises CellExecutionError."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    os.environ |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",      # "!wrn" in cells
        "WRN_OFFLINE": "1", "COLUMNS": "100", "NO_COLOR": "1",
    }  # fmt: skip
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder / "examples" / "notebooks")}}
    executed: nbformat.NotebookNode = NotebookClient(notebook, timeout=600, resources=resources).execute()
    return executed


def tidy(notebook: nbformat.NotebookNode, folder: str) -> None:
    """Remove times, the temporary folder, the terminal's line ends, and the second format of an image."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "text" in output:
                output.text = output.text.replace(f"{folder}/examples/notebooks/", "").replace("\r\n", "\n")
            if "image/png" in output.get("data", {}):
                output.data.pop("image/jpeg", None)


if __name__ == "__main__":
    main()
