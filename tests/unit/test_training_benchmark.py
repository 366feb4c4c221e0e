"""The plain script is what it says: the same network as ours, transforms as torchvision has them, and it learns."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wideresnet.architectures import get_architecture

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_thread")

import torch  # noqa: E402

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


def test_an_ablation_compares_by_seed_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Differences 0.3, 0.1 and 0.2: mean 0.2, deviation 0.1, interval 0.2 ± 4.303 · 0.1 / √3 = ± 0.248."""
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        gains = [0.3, 0.1, 0.2] if "cutout=8" in command else [0.0, 0.0, 0.0]
        runs = [{"seed": s, "top1": 88 + s + gain, "seconds": 120.0} for s, gain in enumerate(gains)]
        document = {"n": 3, "mean": 89.0, "deviation": 1.0, "interval95": [86.5, 91.5], "runs": runs}
        return subprocess.CompletedProcess(command, 0, json.dumps(document).encode())

    monkeypatch.setattr(subprocess, "run", run)
    target = tmp_path / "ablation.json"
    arguments = ["x", "r.toml", "--runs", "runs", "-o", str(target), "--try", "cutout=8 ema=0.9"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(BENCHMARKS / "ablate.py"), run_name="__main__")
    assert [command[command.index("-o") + 1] for command in commands] == [
        str(Path("runs/recipe")), str(Path("runs/cutout=8_ema=0.9")),
    ]  # fmt: skip
    assert commands[1][-6:] == ["--set", "cutout=8", "--set", "ema=0.9", "--format", "json"]
    base, line = json.loads(target.read_text())["lines"]
    assert (base["difference"], line["difference"]) == (0, pytest.approx(0.2))
    assert line["difference95"] == pytest.approx([0.2 - 0.2484, 0.2 + 0.2484], abs=1e-3)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "| `cutout=8 ema=0.9` | 89.00 ± 1.00 | 86.50 to 91.50 | +0.20 | -0.05 to +0.45 | 2.0 |"
    assert target.with_suffix(".md").read_text().splitlines()[-1] == last
