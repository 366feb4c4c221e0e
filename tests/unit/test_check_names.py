"""``tools/check_names.py``: which bindings count as fillers, and that their number only falls."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_names.py"
MODULE = runpy.run_path(str(TOOL))


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("source", "fillers"),
    [
        ("found = 1", ["found"]),
        ("for each in paths: pass", ["each"]),
        ("def f(self, other, *, _place=0): ...", ["other", "_place"]),
        ("def share(): ...\nclass known: ...", ["share", "known"]),
        ("a = [one for one in rows]", ["one"]),
        ("with open(path) as left: left.other = path", ["left"]),
        ("def __add__(self, other): ...", []),
        ("from os import other\nprint(found)\nindex = path = 1", []),
    ],
)
def test_bindings_that_are_fillers(source: str, fillers: list[str]) -> None:
    assert [name for name in MODULE["bindings"](source) if MODULE["is_filler"](name)] == fillers


def test_more_than_the_ceiling_is_an_error_that_names_the_files(tmp_path: Path) -> None:
    (tmp_path / "few.py").write_text("each = 1\n")
    assert (check(tmp_path).returncode, check(tmp_path).stdout.startswith("1 filler names of 1")) == (0, True)
    (tmp_path / "many.py").write_text("found = 1\n" * (MODULE["CEILING"] + 1))
    refused = check(tmp_path)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[0] == f"{tmp_path}/many.py: found {MODULE['CEILING'] + 1}"


def test_a_folder_without_python_files_is_an_error(tmp_path: Path) -> None:
    assert check(tmp_path).returncode == 1
