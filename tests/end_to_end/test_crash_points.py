"""Every command that writes, killed before and after each step: the old output or the new one, and no leftovers."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crash_points import CrashServer, crash_server
from fakes import TINY, tiny_bundle
from wideresnet.bundle import is_bundle, read_bundle, write_bundle

KILLED = -signal.SIGKILL
MODEL = ("-m", "tiny", "--precision", "f32")


@dataclass(frozen=True)
class Case:
    """A command, the same one for an older output, and a view of the output, None if a part of it is missing."""

    command: tuple[str, ...]
    older: tuple[str, ...]
    view: Callable[[Path], Any]
    resumes: bool = False
    exchange: bool = True
    repairs: bool = False                          # the output may need the next run to be complete


def bundle(path: Path) -> Any:
    return read_bundle(path).sha256


def text(path: Path) -> Any:
    """The file without times."""
    return re.sub(rb'"seconds": ?[0-9.e-]+|\d+\.\d+(?=,,?\s)', b"", path.read_bytes())


def table(path: Path) -> Any:
    import pyarrow.parquet as pq

    return [{key: value for key, value in row.items() if key != "seconds"} for row in pq.read_table(path).to_pylist()]


def features(path: Path) -> Any:
    """The arrays and the paths; None without paths."""
    paths = path.with_name(f"{path.name}.paths.txt")
    with path.open("rb") as file:
        loaded = np.load(file)
        arrays = {name: loaded[name].tobytes() for name in loaded.files} if path.suffix == ".npz" else loaded.tobytes()
    return (arrays, paths.read_text()) if paths.exists() else None


def images(path: Path) -> Any:
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith(".")}


def page(path: Path) -> Any:
    assert path.read_text().endswith("</html>\n")
    return "page"


def run_folder(path: Path) -> Any:
    """The bundle's graph, and complete files beside it as far as they are there."""
    for name in ("run.json", "log.jsonl"):
        if (path / name).exists():
            [json.loads(line) for line in (path / name).read_text().splitlines() if name == "log.jsonl"]
    return bundle(path / "bundle") if (path / "bundle").exists() else None


def answers(format: str, view: Callable[[Path], Any]) -> Case:
    command = "classify", *MODEL, "--format", format, "-o", "out"
    return Case((*command, "new"), (*command, "old"), view, resumes=True)


def scores(ending: str, view: Callable[[Path], Any]) -> Case:
    command = "evaluate", *MODEL, "--skip-order-check", "-o", f"out.{ending}"
    return Case((*command, "classes/new"), (*command, "classes/old"), view, resumes=True)


def embedding(name: str, view: Callable[[Path], Any], *more: str) -> Case:
    command = "embed", *MODEL, *more, "-o", name
    return Case((*command, "new"), (*command, "old"), view, repairs="parquet" not in name)


EXPORT = ("export", "-o", "out", "-m")
COMPILE = ("compile", "--precision", "fp16", "--gate", "none", "-o", "out", "-m")
CASES = {
    "export": Case((*EXPORT, "tiny"), (*EXPORT, "other"), bundle),
    "export without exchange": Case((*EXPORT, "tiny"), (*EXPORT, "other"), bundle, exchange=False),
    "compile": Case((*COMPILE, "tiny"), (*EXPORT, "tiny"), bundle),
    "compile without exchange": Case((*COMPILE, "tiny"), (*EXPORT, "tiny"), bundle, exchange=False),
    "embed npy": embedding("out.npy", features),
    "embed npz": embedding("out.npz", features, "--layer", "layer1,features"),
    "embed parquet": embedding("out.parquet", table),
    "classify csv": answers("csv", text),
    "classify jsonl": answers("jsonl", text),
    "classify parquet": answers("parquet", table),
    "evaluate csv": scores("csv", text),
    "evaluate parquet": scores("parquet", table),
    "evaluate page": Case(
        ("evaluate", "classes/new", *MODEL, "--skip-order-check", "--report", "out"),
        ("evaluate", "classes/old", *MODEL, "--skip-order-check", "--report", "out"), page,
    ),
    "merge": Case(("merge", "part.json", "--report", "out"), ("merge", "part.json", "--report", "out"), page),
    "finetune": Case(
        ("finetune", "--data", "classes/new", "--from", "tiny", "-o", "out"), (), run_folder, repairs=True
    ),
    "explain": Case(
        ("explain", "new", *MODEL, "-o", "out"), ("explain", "new", *MODEL, "-o", "out"), images
    ),
}  # fmt: skip
SHORT = ("export without exchange", "embed npy")   # tested at a few steps by default


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashServer]:
    with crash_server(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
def inputs(tmp_path: Path, server: CrashServer) -> Path:
    """A folder with a model, images of two ages, and the counts of an evaluation."""
    folder = tmp_path / "inputs"
    write_bundle(folder / "tiny", tiny_bundle())
    write_bundle(folder / "other", tiny_bundle(TINY["basic"]))
    noise = np.random.default_rng(0)
    for age in ("old", "new"):
        for number in range(8):
            for path in (folder / age, folder / "classes" / age / ("cat", "dog")[number % 2]):
                path.mkdir(parents=True, exist_ok=True)
                pixels = noise.integers(0, 256, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(path / f"{age}{number}.png", compress_level=0)
    assert server.run(folder, "evaluate", "classes/new", *MODEL, "--skip-order-check", "--format", "json") == 0
    (folder / "part.json").write_text(server.output)
    return folder


def output_of(case: Case, folder: Path) -> Path:
    option = "-o" if "-o" in case.command else "--report"
    return folder / case.command[case.command.index(option) + 1]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def seen(case: Case, folder: Path) -> Any:
    """What a reader finds; None without an output."""
    is_bundle(output_of(case, folder))             # as every reader of a bundle begins
    return case.view(output_of(case, folder)) if output_of(case, folder).exists() else None


def next_run(case: Case, server: CrashServer, folder: Path) -> int:
    """Repeat the command, resumed if it has something to resume."""
    part = output_of(case, folder).with_name(f"{output_of(case, folder).name}.part")
    return server.run(folder, *case.command, *(["--resume"] if case.resumes and part.exists() else []))


def sweep(case: Case, server: CrashServer, inputs: Path, steps: int) -> int:
    """Kill ``case`` before and after every ``steps``-th step, check what is left, run it again; return the kills."""
    if case.older:
        assert server.run(inputs, *case.older) == 0, server.output
    old, whole = seen(case, inputs), inputs.with_name("whole")
    shutil.copytree(inputs, whole)
    assert server.run(whole, *case.command, exchange=case.exchange) == 0, server.output
    new, expected, kills = seen(case, whole), names(whole), 0
    assert new is not None
    for after in (False, True):
        for step in count(1, steps):
            folder = inputs.with_name(f"{step}-{after}")
            shutil.copytree(inputs, folder)
            code = server.run(folder, *case.command, step=step, after=after, exchange=case.exchange)
            if code != KILLED:
                assert (code, seen(case, folder)) == (0, new), server.output
                break
            kills += 1
            found = seen(case, folder)
            assert found in (old, new) or (found is None and case.repairs), (step, after, names(folder))
            assert next_run(case, server, folder) == 0, (step, after, server.output)
            assert seen(case, folder) == new, (step, after)
            assert names(folder) == expected, (step, after)
            shutil.rmtree(folder)
    return kills


@pytest.mark.parametrize("name", SHORT)
def test_killed_at_some_steps_a_command_leaves_a_complete_output(name: str, server: CrashServer, inputs: Path) -> None:
    assert sweep(CASES[name], server, inputs, 6) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_step_a_command_leaves_a_complete_output(name: str, server: CrashServer, inputs: Path) -> None:
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    kills = sweep(CASES[name], server, inputs, 1)
    print(f"{name}: {kills} kills")                # noqa: T201
    assert kills > 8


@pytest.mark.parametrize("name", ["classify csv", *(pytest.param(name, marks=pytest.mark.slow) for name in CASES)])
@pytest.mark.parametrize("limit", [0, 300])
def test_a_full_disk_is_said_and_leaves_the_old_output_and_what_can_be_resumed(
    name: str, limit: int, server: CrashServer, inputs: Path
) -> None:
    """A limit on the size of files fails as a full disk does, at any write."""
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    case = CASES[name]
    if case.older:
        assert server.run(inputs, *case.older) == 0, server.output
    old, before = seen(case, inputs), names(inputs)
    assert server.run(inputs, *case.command, limit=limit) == 2
    assert re.search("^error: cannot write .*File too large$", server.output, re.MULTILINE)
    part = output_of(case, inputs).with_name(f"{output_of(case, inputs).name}.part")
    if name != "finetune":                         # its folder keeps what was written before
        assert (seen(case, inputs), names(inputs)) == (old, sorted({*before, part.name} if part.exists() else before))
    assert not part.exists() or case.resumes
    assert next_run(case, server, inputs) == 0, server.output
    assert seen(case, inputs) != old or name in ("evaluate page", "merge", "explain")
