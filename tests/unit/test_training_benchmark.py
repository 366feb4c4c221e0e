"""The plain script is what it says: the same network as ours, transforms as torchvision has them, and it learns."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wideresnet.architectures import get_architecture
from wideresnet.errors import TrainingError

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_thread")

import torch  # noqa: E402

from wideresnet.training.recipe import read_recipe  # noqa: E402

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARKS / "plain_cifar.py"))


@pytest.mark.parametrize(("layers", "widen"), [(10, 1), (16, 2), (28, 10)])
def test_the_network_has_the_parameters_of_ours(plain: dict[str, Any], layers: int, widen: int) -> None:
    with torch.device("meta"):
        model = plain["WideResNet"](layers, widen)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == get_architecture(f"wrn_{layers}_{widen}").parameters()


def test_the_transforms(plain: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    tested = plain["TEST"](Image.fromarray(pixels))
    expected = (pixels / 255 - plain["MEAN"]) / plain["STD"]
    np.testing.assert_allclose(tested.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)))
    cuts = [padded[top : top + 32, left : left + 32] for top in range(9) for left in range(9)]
    known = {cut.tobytes() for cut in cuts} | {cut[:, ::-1].tobytes() for cut in cuts}
    seen = set()
    for _ in range(30):
        image = plain["RandomHorizontalFlip"]()(plain["RandomCrop"](32, 4)(Image.fromarray(pixels)))
        seen.add(np.asarray(image).tobytes())
    assert seen <= known
    assert len(seen) > 10


def test_the_rate_falls_as_in_the_paper(plain: dict[str, Any]) -> None:
    rates = [plain["rate_at"](epoch, 200, 0.1) for epoch in (0, 59, 60, 120, 160)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.004, 0.0008])


def test_it_trains_from_the_official_files(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        labels = np.arange(8) % 2
        pixels = rng.integers(0, 100, (8, 3072)) + 150 * labels[:, None]
        np.concatenate([labels[:, None], pixels], 1).astype(np.uint8).tofile(tmp_path / name)
    arguments = ["--layers", "10", "--widen-factor", "1", "--epochs", "6", "--batch-size", "8", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["plain_cifar.py", "--data", str(tmp_path), "--lr", "0.05", *arguments])
    plain["main"]()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert "top-1 100.00 %" in lines[-1]


@pytest.mark.slow
def test_both_side_by_side(tmp_path: Path) -> None:
    recipe = "architecture = 'wrn_10_1'\nepochs = 3\nbatch_size = 8\nlearning_rate = 0.1\nsizes = [[0, 8], [2, 16]]\n"
    (tmp_path / "short.toml").write_text(recipe)
    command = [sys.executable, str(BENCHMARKS / "train_speed.py"), str(tmp_path / "short.toml"), "-o", "out.json"]
    command += ["--steps", "1", "--rounds", "2", "--workers", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert document == json.loads(done.stdout)
    (row,) = document["rows"]
    assert set(row["images_per_s"]["ours"]) == {"8", "16", "32"}
    assert row["ratio"]["n"] == 2
    assert row["ratio_recipe"]["n"] == 2
    assert document["machine"]["cpus"]


def test_the_cost_of_augmentation_is_a_share_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, target = tmp_path / "tiny.toml", tmp_path / "cost.json"
    recipe.write_text('architecture = "wrn_10_1"\nepochs = 1\nlearning_rate = 0.1\nbatch_size = 8\n')
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["x", str(recipe), "--steps", "1", "--rounds", "2", "-o", str(target)])
    runpy.run_path(str(BENCHMARKS / "augment_cost.py"), run_name="__main__")
    (network,) = json.loads(target.read_text())["networks"]
    assert set(network["rows"]) >= {"crops and flips", "erasing", "cutout", "jitter", "mixup", "cutmix", "trivial"}
    for row in network["rows"].values():
        assert 0 < row["share_percent"]["median"] < 100
        assert row["batch_ms"]["n"] == 2
    assert network["rows"]["crops and flips"]["added_percent"]["median"] == 0


GAINS = {"cutout = 8": [0.003, 0.001, 0.002], "ema = 0.9": [0.01, 0.01, 0.01]}


class Training:
    """Trains nothing: writes logs whose accuracy has a known gain for each setting."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.hot = True

    def seeds(self, recipe: Any, count: int, _data: Path, run: Path, _group: Any) -> Any:
        for seed in range(count):
            folder = run / f"seed-{seed}"
            if (folder / "log.jsonl").exists():
                continue
            if recipe.learning_rate > 1 and self.hot:
                raise TrainingError("the loss became nan")
            text = recipe.model_copy(update={"seed": seed}).to_toml()
            gain = sum(values[seed] for setting, values in GAINS.items() if f"{setting}\n" in text)
            lines = [{"epoch": epoch, "top1": 0.88 + 0.01 * seed + gain, "seconds": 60.0} for epoch in range(2)]
            folder.mkdir(parents=True)
            (folder / "recipe.toml").write_text(text)
            (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            self.trained.append(f"{run.name} {seed}")
        yield from ()

    def plan(self, recipe: Any, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(seconds=180.0 if recipe.cutout else 120.0)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Training:
    """Replaces the training in ``ablate.py``; the working folder has a recipe and settings."""
    training = Training()
    monkeypatch.setattr("wideresnet.tasks.train.seeds.train_seeds", training.seeds)
    monkeypatch.setattr("wideresnet.tasks.train.plan.plan_training", training.plan)
    monkeypatch.chdir(tmp_path)
    Path("r.toml").write_text('architecture = "wrn_10_1"\nepochs = 2\nlearning_rate = 0.1\n')
    Path("lines.toml").write_text("[small]\ncutout = 8\n[hot]\nlearning_rate = 1e9\n")
    Path("cifar10").mkdir()
    return training


def ablate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    command = ["x", "r.toml", "--data", "cifar10", "--settings", "lines.toml", "--runs", "runs", "-o", "a.json"]
    monkeypatch.setattr(sys, "argv", [*command, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(BENCHMARKS / "ablate.py"), run_name="__main__")
    return int(str(end.value.code))


def test_an_ablation_compares_by_seed_and_states_the_cost(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Differences 0.3, 0.1 and 0.2: mean 0.2, deviation 0.1, interval 0.2 ± 4.303 · 0.1 / √3 = ± 0.248."""
    assert ablate(monkeypatch, "--try", "ema=0.9 flip=none") == 1, "one line failed"
    base, small, hot, tried = json.loads(Path("a.json").read_text())["lines"]
    assert (base["difference"], small["difference"]) == (0, pytest.approx(0.2))
    assert small["difference95"] == pytest.approx([0.2 - 0.2484, 0.2 + 0.2484], abs=1e-3)
    assert [run["top1"] for run in small["runs"]] == pytest.approx([88.3, 89.1, 90.2])
    assert (small["n"], small["pairs"], small["cost"], small["cpu_minutes"]) == (3, 3, 1.5, 3)
    assert (hot["n"], hot["mean"], hot["failure"]) == (0, None, "the loss became nan")
    assert tried["changes"] == {"ema": 0.9, "flip": "none"}
    assert tried["difference95"] == pytest.approx([1, 1])
    table = capsys.readouterr().out
    assert "| `cutout=8` | 3 | 89.20 ± 0.95 | +0.20 | -0.05 to +0.45 | 1.50 | 3.0 |\n" in table
    assert Path("a.md").read_text() == table


def test_an_ablation_continues_and_trains_the_chosen_lines_only(
    training: Training, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate(monkeypatch, "--seeds", "2", "--only", "small") == 0
    assert training.trained == ["the_recipe 0", "the_recipe 1", "small 0", "small 1"]
    training.trained, training.hot = [], False
    shutil.rmtree("runs/small/seed-1")             # as after a kill
    assert ablate(monkeypatch, "--seeds", "2") == 0
    assert training.trained == ["small 1", "hot 0", "hot 1"]
    assert ablate(monkeypatch, "--seeds", "3", "--only", "hot") == 0
    assert training.trained[3:] == ["the_recipe 2", "hot 2"]
    complete = Path("a.md").read_text()
    Path("a.md").unlink()
    assert ablate(monkeypatch, "--table") == 0
    assert training.trained[5:] == [], "only the table"
    assert Path("a.md").read_text() == complete
    assert [line["n"] for line in json.loads(Path("a.json").read_text())["lines"]] == [3, 2, 3]
    Path("lines.toml").write_text("[small]\ncutout = 12\n")
    assert ablate(monkeypatch) == 2, "its runs are with cutout = 8"
    assert ablate(monkeypatch, "--only", "little") == 2
    assert "settings: cutout\n" in (stderr := capsys.readouterr().err)
    assert "no settings called little" in stderr


def test_the_speeds_of_all_turns_are_kept_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rounds = runpy.run_path(str(BENCHMARKS / "train_speed.py"))["play_rounds"]
    turns = [lambda steps: 10.0 * steps, lambda steps: 20.0 * steps]
    assert rounds(turns, SimpleNamespace(rounds=3, steps=2)) == [{0: 20.0, 1: 40.0}] * 3


def test_the_settings_of_the_package_are_valid() -> None:
    """Each line of ``ablation.toml`` is a change of the recipe that it is for."""
    recipe = read_recipe(Path("wrn-16-1-cifar10-short"))
    for name, settings in tomllib.loads((BENCHMARKS / "ablation.toml").read_text("utf-8")).items():
        changes = {key: json.dumps(value) for key, value in settings.items()}
        assert read_recipe(Path("wrn-16-1-cifar10-short"), changes) != recipe, name
