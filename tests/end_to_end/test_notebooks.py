"""The notebooks of ``examples`` run with bundled data only, and hold the outputs that the site shows."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from documents import ROOT

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")                                  # of Jupyter's packages
def test_a_notebook_runs_without_an_error(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    runpy.run_path(str(ROOT / "tools" / "run_notebooks.py"))["execute"](notebook, tmp_path)


def test_a_notebook_is_stored_with_the_outputs_of_all_its_cells(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        assert cell["execution_count"] == number, "run tools/run_notebooks.py"
        assert cell["outputs"], cell["source"]
        assert [output for output in cell["outputs"] if output["output_type"] == "error"] == []
        assert [text for output in cell["outputs"] for text in texts(output) if "/tmp/" in text] == []


def texts(output: dict[str, Any]) -> list[str]:
    return ["".join(output.get("text", "")), "".join(output.get("data", {}).get("text/plain", ""))]
