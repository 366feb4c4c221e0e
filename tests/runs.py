"""Training runs that tests start, stop and compare: what they learn from, and all that they leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wideresnet.weights.read import read_tensors

# Everything that could remember something from epoch to epoch is switched on.
RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = {epochs}
batch_size = 8
learning_rate = 0.1
schedule = "one-cycle"
dropout = 0.3
ema = 0.9
label_smoothing = 0.1
trivial = true
mixup = 0.2
flip = "alternating"
stored = 20
"""


def noise_photos(folder: Path, val: int) -> None:
    """Two classes of 16 images of noise to learn from, and ``val`` each to judge, in ``folder``/photos."""
    noise = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", val)):
        for name in ("cats", "dogs"):
            (folder / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / part / name / f"{number:02}.png")


def state(run: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and momentum of the checkpoint, and the averaged weights of the result."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    momentum = {f"momentum {k}": v["momentum_buffer"] for k, v in saved["optimiser"]["state"].items()}
    averaged = {f"averaged {k}": v for k, v in saved["averaged"].items()}
    result = {f"result {k}": torch.from_numpy(v) for k, v in read_tensors(run / "model.safetensors").tensors.items()}
    return {**saved["model"], **momentum, **averaged, **result}


def log(run: Path) -> list[tuple[object, ...]]:
    """Epoch, loss and accuracy of each line."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["loss"], line.get("top1")) for line in lines]


def assert_the_same(one: Path, other: Path) -> None:
    """Weights and log, to the bit."""
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(one) == log(other)
