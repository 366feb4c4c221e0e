"""What all tests of the command line share."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from commands import Done, Wrn
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.cli import progress
from wideresnet.cli.main import run


@pytest.fixture
def wrn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Wrn:
    """The command, run in this process from an empty folder and without a connection."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRN_OFFLINE", "1")
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(progress, "EVERY_S", 1e6)  # so that stderr is the same on a busy machine

    def call(*arguments: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["wrn", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            run()
        code = stopped.value.code
        out, err = capsys.readouterr()
        return Done(code if isinstance(code, int) else int(code is not None), out, err)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, one in a folder inside, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    Image.new("RGB", (30, 40), "blue").save(folder / "inner" / "b.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder
