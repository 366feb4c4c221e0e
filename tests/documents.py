"""Code blocks of the documents, for tests that run them as a reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language in a document of the repository, in order."""
    return [code for found, code in BLOCK.findall((ROOT / page).read_text("utf-8")) if found == language]


def commands(page: str) -> Iterator[str]:
    """The commands of a document's ``sh`` blocks in order, without comments.

    An installation is left out, since it needs a package index, up to the ``wrn`` command that ends its line.
    """
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s+)#.*", "", line).strip()
            if command.startswith("python3 -m venv"):
                command = command.rpartition("&& .venv/bin/")[2]
            if command and not command.startswith(("pip install", "export PATH=", "make check")):
                yield command


def copy_of_repository(folder: Path) -> Path:
    """What the commands read, beside a folder ``bin`` with ``wrn`` and ``python`` as an installation has them."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "bin").mkdir()
    for name, arguments in (("wrn", "-m wideresnet"), ("python", "")):
        script = folder / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        script.chmod(0o755)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The variables of a shell in a copy of the repository; downloads are refused."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    source = str(ROOT / "src")
    return {**os.environ, "PATH": path, "PYTHONPATH": source, "WRN_OFFLINE": "1", "COLUMNS": "100"}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of the repository."""
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
