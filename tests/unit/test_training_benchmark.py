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
