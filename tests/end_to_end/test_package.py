"""Wheel and source distribution: built, installed on every Python here, and used outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

pytestmark = pytest.mark.slow                      # minutes, and packages from an index


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command, without this environment's packages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def install(python: str | Path, folder: Path, *packages: str | Path) -> Path:
    """The Python of a new environment with ``packages``; skipped where no index has them."""
    run(python, "-m", "venv", folder, cwd=folder.parent)
    fresh = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [fresh, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(pip, cwd=folder.parent, capture_output=True, text=True, timeout=1200)
    if done.returncode and ("No matching distribution" in done.stderr or "connection" in done.stderr.lower()):
        pytest.skip(f"no packages for this Python: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return fresh


def find_python(version: str) -> Path | None:
    """An interpreter of this version: on the path, or beside others in pyenv's folder."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for candidate in filter(None, candidates):
        # A shim of pyenv may stand for a version that is not active.
        if subprocess.run([candidate, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return Path(candidate)
    return None


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions."""
    folder = tmp_path_factory.mktemp("package")
    python = install(sys.executable, folder / "build", "hatchling>=1.27")
    run(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=ROOT)
    return folder / "dist"


def only(dist: Path, pattern: str) -> Path:
    (file,) = dist.glob(pattern)
    return file


def test_the_wheel_holds_data_types_and_licences(dist: Path) -> None:
    with zipfile.ZipFile(only(dist, "*.whl")) as wheel:
        names = set(wheel.namelist())
        metadata = message_from_bytes(wheel.read(next(name for name in names if name.endswith("/METADATA"))))
    tracked = run("git", "ls-files", "src", cwd=ROOT).splitlines()
    assert {name.removeprefix("src/") for name in tracked} <= names, "py.typed, weights, labels, pages"
    assert "wideresnet/py.typed" in names
    assert set(metadata.get_all("License-File", [])) == set(PROJECT["license-files"])
    assert all(any(name.endswith(f"licenses/{file}") for name in names) for file in PROJECT["license-files"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_source_distribution_builds_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    python = next((dist.parent / "build").glob("*/python"))
    run(python, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again", cwd=source)
    wheels = only(dist, "*.whl"), only(tmp_path / "again", "*.whl")
    contents = []
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as file:
            contents.append({info.filename: info.CRC for info in file.infolist() if "dist-info" not in info.filename})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_classifies_on_every_python(dist: Path, tmp_path: Path, version: str) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"there is no Python {version} with venv")
    fresh = install(python, tmp_path / "venv", only(dist, "*.whl"))
    code = "import sys, wideresnet; print(sys.version_info[:2], wideresnet.__file__)"
    shown = run(fresh, "-c", code, cwd=tmp_path)
    assert shown.startswith(str(tuple(map(int, version.split(".")))))
    assert str(tmp_path / "venv") in shown, "not the checkout"
    shutil.copy(ROOT / "examples" / "dog.jpg", tmp_path)
    wrn = fresh.with_name("wrn")
    assert "dog" in run(wrn, "classify", "dog.jpg", cwd=tmp_path)
    assert "dog" in run(fresh, "-m", "wideresnet", "classify", "dog.jpg", "--format", "csv", cwd=tmp_path)
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
