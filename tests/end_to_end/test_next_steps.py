"""The commands that a command names as the next ones can be run as they are printed."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

from commands import Done, Wrn
from fakes import tiny_cifar_archive
from wideresnet.cli.compile import _say_next
from wideresnet.cli.main import app
from wideresnet.datasets import open as opening
from wideresnet.datasets.cifar import read_cifar10
from wideresnet.tasks.train import train as training

RECIPE = 'architecture = "wrn_10_1"\nepochs = 1\nbatch_size = 10\nlearning_rate = 0.05\nsizes = [[0, 16]]\n'


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "old dog")):
        (tmp_path / "Anna's pets" / name).mkdir(parents=True)
        for index in range(5):
            noise = np.random.default_rng(10 * number + index).integers(0, 256, (36, 36, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "Anna's pets" / name / f"{index}.png")
    return tmp_path / "Anna's pets"


def next_commands(done: Done) -> list[list[str]]:
    """The arguments behind ``wrn``; all are parsed as that command would."""
    assert "next:" not in done.out
    commands = [shlex.split(line.removeprefix("next: wrn ")) for line in done.err.splitlines() if line[:5] == "next:"]
    group: Any = typer.main.get_command(app)
    for name, *arguments in commands:
        group.commands[name].make_context(name, arguments)
    return commands


def test_after_fine_tuning(wrn: Wrn, tiny: Path, pets: Path) -> None:
    done = wrn("finetune", "--from", "tiny", "--data", "Anna's pets", "-o", "my run")
    classify, compile_, serve = next_commands(done)
    assert classify == ["classify", "Anna's pets", "-m", "my run/bundle"]
    assert compile_ == ["compile", "-m", "my run/bundle", "-o", "my run/int8"]
    assert serve == ["serve", "-m", "my run/bundle"]
    assert "old dog" in wrn(*classify).out
    half = wrn(*compile_[:3], "-o", "my half", "--precision", "f16", "--data", "my run/val.csv", "--gate", "100")
    evaluate, bench, serve = next_commands(half)
    assert wrn(*evaluate, "--format", "json").json["n"] == 2
    assert bench == ["bench", "-m", "my half"]
    assert serve == ["serve", "-m", "my half"]
    again = wrn("finetune", "--from", "tiny", "--data", "Anna's pets", "-o", "my run", "--format", "json")
    assert next_commands(again) == []


def test_after_an_export(wrn: Wrn, tiny: Path) -> None:
    info, bench, serve = next_commands(wrn("export", "-m", "tiny", "-o", "my copy"))
    assert "wrn_10_1.tiny" in wrn(*info).out
    assert (bench, serve) == (["bench", "-m", "my copy"], ["serve", "-m", "my copy"])
    assert next_commands(wrn("export", "-m", "tiny", "-o", "other", "--format", "json")) == []
    (info,) = next_commands(wrn("export", "-m", "tiny", "-o", "a b.safetensors", "--format", "safetensors"))
    assert "wrn_10_1" in wrn(*info).out


def test_after_training(wrn: Wrn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tiny_cifar_archive(tmp_path / "my cifar", rows=10)
    monkeypatch.setitem(training.READERS, "cifar10", partial(read_cifar10, verify=False))
    monkeypatch.setattr(opening, "open_labelled", partial(opening.open_labelled, verify=False))
    Path("short.toml").write_text(RECIPE)
    evaluate, export = next_commands(wrn("train", "short.toml", "--data", archive, "-o", "my run"))
    assert evaluate == ["evaluate", str(archive), "-m", "my run/model.safetensors"]
    assert wrn(*evaluate, "--skip-order-check", "--format", "json").json["n"] == 10
    assert wrn(*export).code == 0
    assert Path("my run/bundle/card.json").exists()


@pytest.mark.parametrize(("search", "said"), [(None, "next: wrn compile -m 'a b' --search\n"), (20.0, "")])
def test_after_a_failed_gate_a_search_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], search: float | None, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["wrn", "compile", "-m", "a b"])
    settings: Any = SimpleNamespace(precision="int8", search=search, data=Path("val"))
    gate: Any = SimpleNamespace(verdict="failed")
    _say_next(settings, Path("out"), gate)
    assert capsys.readouterr().err == said
